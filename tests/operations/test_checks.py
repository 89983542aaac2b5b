"""Every fault that a check knows: how bad it is called, and that both languages have words."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from doctor_parts import DAY, HANDLER, INSTALLED, LINE, NOW, URL, facts
from doctor_parts import OAUTH as OAUTH_SERVER
from fault_table import (
    ATTENTION,
    BROKEN,
    CERTIFICATES,
    DB,
    FAULTS,
    FULL,
    GOOD,
    HARMLESS,
    HERE,
    OTHER,
    WAITS,
    WHY,
    fault,
    front,
    no_events,
    of_kept,
    of_portal,
    visited,
    with_settings,
)

from cli.doctor import iso_time, local_time
from delivery.lookup import CLOCKS_DIFFER_SECONDS
from operations import checks_portal
from operations.doctor import ALL, findings
from operations.facts import Disk
from operations.findings import Finding, Level, Moment, Phrase, as_plain, from_plain, worst
from operations.front import FrontReport
from operations.roots import EXPLAINS, cause_of
from operations.telling import utc
from operations.words import heading, verdict_words, words
from rest.errors import (
    CERTIFICATE_EXPIRED,
    OAUTH,
    OAUTH_APP_INFO,
    OutcomeUnknown,
    SetupFault,
    TryLater,
)
from rest.replies import TokenHome
from store.database import (
    DiskFull,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    StoreNoFile,
    StoreOlder,
    StoreReadOnly,
    StoreUnavailable,
)
from store.log import StoreDamaged, StoreForeign, StoreMixed
from store.overview import LastMessages, RefusedMessages, Unannounced, Waiting
from store.records import LastRecovery, Named, ReportedFault
from texts import all_texts, languages

NAMES_A_SETTING = {
    *("settings_incomplete", "registration_refused", "portal_renamed", "rename_kept"),
    *("secret_wrong", "other_application", "certificate_unknown", "certificate_self_signed"),
    *("address_here", "address_here_seen", "address_of_portal", "proxies_few", "proxies_many"),
    *("front_redirects", "front_other", "front_other_path", "front_unresolved", "sites_tried"),
    *("server_unreachable", "not_a_portal", "setup_refused", "certificate_of_another_host"),
    *("address_private", "front_certificate_of_another_host", "front_too_large"),
}
# The same, of the pages of an install.
INSTALL_NAMES_A_SETTING = {
    *("no_settings", "unreachable", "not_a_portal", "wrong_portal", "wrong_application", "refused"),
    *("wrong_secret", "certificate_unknown", "certificate_self_signed"),
    *("renamed", "rename_done", "rename_not_confirmed"),
}
SAID_BY_OTHERS = {"note", "settings_wrong", "doctor_failed", "verdict_good"} | {
    *(
        "settings_unread",
        "settings_changed_wrong",
        "settings_of_environment",
    ),  # operations/running.py
    *("service_older",),
}


def moment(of: Moment) -> str:
    return f"[{of.seconds:.0f}]"


def told(finding: Finding) -> list[str]:
    return [words(finding, language, moment) for language in ("en", "ru")]


def told_all(of: Any) -> list[str]:
    return [text for finding in findings(of, ALL) for text in told(finding)]


def every(rows: Iterable[tuple[Any, ...]]) -> list[Finding]:
    return [one for changes, *_ in rows for one in findings(facts(**changes), ALL)]


@pytest.mark.parametrize(
    ("changes", "level", "check", "key"), FAULTS, ids=[f"{row[3]}-{row[1].name}" for row in FAULTS]
)
def test_a_fault_is_said_first_with_its_cure_in_both_languages(
    changes: dict[str, Any], level: Level, check: str, key: str
) -> None:
    found = findings(facts(**changes), ALL)

    assert (found[0].check, found[0].level, found[0].key) == (check, level, key)
    english, russian = told(found[0])
    assert english != russian
    for text in (english, russian):
        assert "{" not in text


@pytest.mark.parametrize(
    ("changes", "key"), HARMLESS, ids=[f"{place}-{row[1]}" for place, row in enumerate(HARMLESS)]
)
def test_what_is_no_fault_is_not_called_one(changes: dict[str, Any], key: str) -> None:
    found = findings(facts(**changes), ALL)

    assert worst(found) is GOOD, [one for one in found if one.level]
    assert key in {one.key for one in found}


def test_a_healthy_chat_is_called_so() -> None:
    found = findings(facts(), ALL)

    assert worst(found) is GOOD
    assert {verdict_words(worst(found), "en"), verdict_words(worst(found), "ru")} == {
        "The chat works", "Чат работает"
    }  # fmt: skip


def test_the_doctor_has_no_text_that_it_never_says() -> None:
    said = {one.key for one in every([*FAULTS, *HARMLESS, ({},)])} | SAID_BY_OTHERS
    checks = {f"check_{one.check}" for one in every([*FAULTS, *HARMLESS])}
    units = {"days", "hours", "minutes", "seconds", "not_listed"}
    units |= {"why_unknown", "why_error", "why_busy", "why_no_answer", "why_refused"}
    verdicts = {f"verdict_{level.name.lower()}" for level in Level}

    assert all_texts("en")["doctor"].keys() == said | checks | units | verdicts


def test_every_finding_has_a_heading_and_words_and_goes_through_json() -> None:
    for finding in every([*FAULTS, *HARMLESS, ({},)]):
        for language in languages():
            assert heading(finding, language)
            assert words(finding, language, moment)
        assert from_plain(json.loads(json.dumps(as_plain(finding)))) == finding


@pytest.mark.parametrize("at", [math.inf, -math.inf, math.nan, 1e300, -1e18])
def test_a_time_that_no_calendar_has_does_not_end_the_doctor(at: float) -> None:
    refused = RefusedMessages(1, at, "X")
    found = findings(facts(of_kept={"last": LastMessages(at, at, at), "refused": refused}), ALL)

    assert all(one.check != "doctor" for one in found)
    for finding in found:
        for written in (local_time, iso_time, utc):
            assert words(finding, "en", written)
        json.dumps(as_plain(finding), allow_nan=False)


def test_a_fault_that_two_checks_meet_is_said_once() -> None:
    found = findings(
        facts(portal=TryLater("NOT_CONNECTED", "batch"), **fault("NOT_CONNECTED")), ALL
    )

    assert [one.key for one in found if one.level is BROKEN] == ["server_unreachable"]


def test_messages_that_wait_for_a_known_reason_are_no_second_fault() -> None:
    found = findings(facts(**of_kept(active_lines=(), waiting=WAITS)), ALL)

    assert [one.key for one in found if one.level is BROKEN] == ["line_none"]
    assert "wait: 3" in told(found[0])[0]


def test_messages_that_wait_for_a_portal_that_is_down_are_no_second_fault() -> None:
    found = findings(
        facts(portal=TryLater("NOT_CONNECTED", "batch"), **of_kept(waiting=WAITS)), ALL
    )

    assert [one.key for one in found if one.level is BROKEN] == ["server_unreachable"]
    assert "waiting" in {one.key for one in found if one.level is ATTENTION}


@pytest.mark.parametrize(
    ("installed", "waits", "code", "level", "key"),
    [
        (5, 900, "", GOOD, "waiting_now"),  # it may have been mended, and is being sent
        (5, 900, "HTTP_502", ATTENTION, "waiting_why"),
        (5, 30, "HTTP_502", GOOD, "waiting_now"),
        (90, 900, "", ATTENTION, "waiting"),
        (90, 900, "HTTP_502", ATTENTION, "waiting_why"),
        (301, 900, "", BROKEN, "waiting_long"),
    ],
)
def test_what_waited_before_an_install_is_judged_by_the_time_since_then(
    installed: int, waits: int, code: str, level: Level, key: str
) -> None:
    portal = replace(INSTALLED, installed_at=NOW - installed)
    found = findings(facts(**of_kept(portal=portal, waiting=Waiting(3, NOW - waits, code))), ALL)

    assert [(one.level, one.key) for one in found if one.check == "waiting"] == [(level, key)]


@pytest.mark.parametrize("code", WHY)
def test_what_waits_names_the_last_error_and_what_helps(code: str) -> None:
    [first, *_] = findings(facts(**of_kept(waiting=Waiting(3, NOW - 400, code))), ALL)

    assert WHY[code] in told(first)[0]
    assert code in told(first)[1]


def test_that_no_event_comes_is_no_second_fault_beside_its_cause() -> None:
    lost = no_events(Unannounced(2, 0, NOW - 60))

    for cause in (of_portal(bindings=()), front(fault="OTHER", status=404)):
        found = findings(facts(**lost | cause), ALL)

        assert [one.check for one in found if one.level is BROKEN] in (["events"], ["front"])
        assert ("events_lost", ATTENTION) in {(one.key, one.level) for one in found}


@pytest.mark.parametrize("code", ["HTTP_502", "NO_REPLY"])
def test_a_portal_that_was_reached_sends_nobody_to_the_firewall(code: str) -> None:
    found = findings(
        facts(portal=OutcomeUnknown(code, "batch"), **front(fault="NOT_RESOLVED")), ALL
    )

    assert {one.check for one in found if one.level is BROKEN} == {"portal", "front"}
    for text in told(next(one for one in found if one.check == "portal")):
        assert code in text
        assert not any(word in text for word in ("firewall", "экран", "internet", "интернет"))


def test_a_portal_that_is_not_reached_either_may_mean_that_no_name_is_resolved_here() -> None:
    found = findings(
        facts(
            portal=TryLater("NOT_CONNECTED", "batch"),
            front=FrontReport("NOT_RESOLVED"),
        ),
        ALL,
    )

    assert [one.check for one in found if one.level is BROKEN] == ["portal"]


@pytest.mark.parametrize("up_at", [NOW - DAY, None])
def test_what_stands_in_front_is_not_judged_while_the_service_does_not_run(
    up_at: float | None,
) -> None:
    others = of_kept(worker_runs=False, worker_up_at=up_at)
    for report in (front(fault="OTHER", status=502), front(is_too_large=True, forwarded=2)):
        found = findings(facts(**others, **report), ALL)

        assert found[0].check == "service"
        assert "front" not in {one.check for one in found}


@pytest.mark.parametrize("seen", [{}, {"portal": "https://chat.example"}])
def test_what_stands_in_front_is_not_judged_at_an_address_of_this_machine(
    seen: dict[str, str],
) -> None:
    wrong = with_settings(public_url=HERE) | of_kept(seen_addresses=seen)

    found = findings(facts(**wrong, **front(is_too_large=True, forwarded=1)), ALL)

    assert found[0].key in ("address_here", "address_here_seen")
    assert "front" not in {one.check for one in found}


def test_the_cure_for_the_body_limit_is_large_enough_for_a_file_and_its_request() -> None:
    [finding] = [one for one in findings(facts(**front(is_too_large=True)), ALL) if one.level]

    assert all("20" in text and "client_max_body_size 21m" in text for text in told(finding))


def test_a_refused_message_is_named_as_the_log_names_it() -> None:
    refused = RefusedMessages(2, NOW - 60, "Text is empty")
    [finding] = [
        one
        for one in findings(facts(**of_kept(refused=refused, refusal_to_tell=77)), ALL)
        if one.level
    ]

    assert all("grep -w message=77" in text for text in told(finding))


def test_a_cure_names_the_command_and_the_form_of_both_files() -> None:
    """Who is told to change a setting is told how to write it, and what makes it count."""
    by_key = {one.key: told(one) for one in every([*FAULTS, *HARMLESS])}
    for key in ("address_here", "address_here_seen", "address_of_portal"):
        assert all("SITECHAT_PUBLIC_URL=http" in text for text in by_key[key]), key
        assert all('public_url = "http' in text for text in by_key[key]), key
    for key in ("proxies_few", "proxies_many"):
        assert all("SITECHAT_SERVER__PROXIES=" in text for text in by_key[key]), key
        assert all("[server]" in text for text in by_key[key]), key
    assert all("SITECHAT_BITRIX24__CLIENT_SECRET" in text for text in by_key["secret_wrong"])
    assert by_key.keys() >= NAMES_A_SETTING
    of_install = {
        f"install.{key}": [all_texts(language)["install"][key] for language in ("en", "ru")]
        for key in INSTALL_NAMES_A_SETTING
    }
    named = {key: by_key[key] for key in NAMES_A_SETTING}
    for key, texts in {**named, **of_install}.items():
        assert all("sudo systemctl reload sitechat" in text for text in texts), key
        assert all("SITECHAT_" in text for text in texts), key


def test_the_page_of_an_install_has_the_cure_of_the_doctor() -> None:
    for language in ("en", "ru"):
        of_install, of_doctor = (all_texts(language)[one] for one in ("install", "doctor"))
        for there, here in (("renamed", "portal_renamed"), *(
            (key, key) for key in CERTIFICATES.values()
        )):  # fmt: skip
            said = of_install[there].replace("{method}: {code}", "{code}")
            also = of_doctor[here].replace("{method}: {code}", "{code}")
            assert said == also.replace("{server}", "{portal}"), (language, there)


@pytest.mark.parametrize("count", [0, 1, 2, 21])
def test_a_sentence_is_right_with_any_number(count: int) -> None:
    for changes in (
        of_kept(waiting=Waiting(count, NOW - 5)),
        of_kept(waiting=Waiting(count, NOW - 120)),
        of_kept(waiting=Waiting(count, NOW - 7200)),
        of_kept(active_lines=(), waiting=Waiting(count, NOW - 120)),
        of_kept(refused=RefusedMessages(count, NOW - 60, "X"), refusal_to_tell=7),
        of_kept(refused=RefusedMessages(3, NOW - 60, "X", 3)),
        of_kept(recovery=LastRecovery(0, count, count or 1, NOW)),
        of_portal(connectors=frozenset()),
    ):
        for text in told_all(facts(**changes)):
            assert not re.search(rf"\b{count} (waiting|messages|dialogs|сообщ)", text), text
            assert ": -" not in text


def test_how_systemd_starts_the_service_comes_before_how_it_is_started_by_hand() -> None:
    found = every([({"kept": StoreMissing("none")},), (of_kept(worker_runs=False),),
                   (of_kept(worker_runs=False, worker_up_at=None),)])  # fmt: skip
    texts = [text for one in found if one.level is BROKEN for text in told(one)]
    assert len(texts) == 6
    for text in texts:
        assert text.index("sudo systemctl start sitechat") < text.index("make serve")


def test_a_reason_of_an_earlier_release_is_shown_by_its_name() -> None:
    finding = Finding("turned_away", GOOD, "turned_away", {
        "place": "/", "reason": Phrase("reasons.of_long_ago"), "count": 1, "last": Moment(NOW),
    })  # fmt: skip

    assert all("reasons.of_long_ago" in text for text in told(finding))


def test_a_full_disk_of_the_files_alone_is_found() -> None:
    disks = (Disk("/var/chats", 20 << 30, 40 << 30), Disk("/srv/files", 10 << 20, 40 << 30))

    [first, *_] = findings(facts(disks=disks), ALL)

    assert first.key == "disk_full"
    assert "/srv/files" in told(first)[0]


STORE_IS_AT_FAULT: list[dict[str, Any]] = [
    front(takes_messages=False) | {"disks": (FULL,)},
    front(takes_messages=False) | {"write_fault": StoreReadOnly("may only be read")},
    front(takes_messages=False) | {"write_fault": StoreLocked("held")},
    front(takes_messages=False),
    front(fault="NO_ANSWER", status=503) | {"write_fault": StoreReadOnly("may only be read")},
    {"front": None, "is_service": True, "write_fault": DiskFull("no room"), "disks": (FULL,)},
]


@pytest.mark.parametrize("up_at", [NOW - 3600, None])
@pytest.mark.parametrize("changes", STORE_IS_AT_FAULT)
def test_a_service_that_answers_is_not_to_be_started_because_its_store_is_at_fault(
    changes: dict[str, Any], up_at: float | None
) -> None:
    stopped = of_kept(worker_runs=False, worker_up_at=up_at)
    found = findings(facts(**changes, **stopped, log_bytes=1000), ALL)

    assert [one.check for one in found if one.level is BROKEN] == ["store"]
    assert "log_left" not in {one.key for one in found}
    assert "service" not in {one.check for one in found}


@pytest.mark.parametrize(
    "report", [front(fault="NOT_REACHED"), front(fault="OTHER", status=502), {"front": None}]
)
def test_a_service_that_does_not_answer_is_said_to_be_stopped_whatever_else_is_wrong(
    report: dict[str, Any],
) -> None:
    changes = of_kept(worker_runs=False) | {"write_fault": StoreReadOnly("may only be read")}

    found = findings(facts(**changes, **report), ALL)

    assert [one.key for one in found if one.level is BROKEN] == [
        "store_read_only",
        "service_stopped",
    ]


def test_a_full_disk_is_said_in_the_present_unless_the_service_still_takes_messages() -> None:
    for report, key in (({"front": None}, "disk_none"), (front(takes_messages=True), "disk_full")):
        [first, *_] = findings(facts(disks=(FULL,), **report), ALL)
        assert first.key == key


COMMAND = re.compile(
    r"sudo (?:systemctl (?:start|restart) sitechat|journalctl -u sitechat|sitechat restore)"
    "|make serve"
)
FAULTS_OF_STORES = [
    StoreDamaged("chats.db is damaged (file is not a database): put", "file is not a database"),
    StoreDamaged("chats.db is damaged (messages are missing): put a backup in its place"),
    StoreMixed(DB),
    StoreForeign(DB),
    StoreNoFile("chats.db is no ordinary file"),
    StoreNewer("chats.db"),
    StoreOlder("chats.db was written by an earlier release"),
    StoreReadOnly("chats.db may only be read"),
    StoreReadOnly("OSError: [Errno 30] Read-only file system: 's'", "Read-only file system"),
    StoreUnavailable("OperationalError: disk I/O error", "disk I/O error"),
    StoreUnavailable("the lock sender is held by another process"),
]


@pytest.mark.parametrize("fault", FAULTS_OF_STORES, ids=lambda one: str(one)[:40])
def test_a_fault_of_the_store_is_told_in_the_language_of_the_reader(
    fault: StoreUnavailable,
) -> None:
    """What SQLite or the system says stands in brackets; nothing else is of another language."""
    [first, *_] = findings(facts(kept=fault), ALL)
    russian = told(first)[1]

    assert (f" ({fault.said})" in russian) == bool(fault.said and first.key != "store_older")
    assert str(fault) not in russian
    without = russian.replace(f" ({fault.said})", "")
    assert not re.findall(r"[A-Za-z]+ [A-Za-z]+ [A-Za-z]+", COMMAND.sub("", without)), russian


def test_before_an_install_the_servers_are_tried_apart() -> None:
    found = findings(
        facts(
            portal=TryLater(CERTIFICATE_EXPIRED, "app.info"),
            oauth=SetupFault("INVALID_TOKEN", OAUTH_APP_INFO),
            **of_kept(portal=None, active_lines=()),
        ),
        ALL,
    )

    broken = [one.key for one in found if one.level is BROKEN]
    assert broken == ["not_installed", "certificate_expired"]
    assert "oauth_good" in {one.key for one in found}


def test_a_clock_that_is_called_broken_hinders_what_it_says() -> None:
    assert checks_portal.CLOCK_FAST_SECONDS == CLOCKS_DIFFER_SECONDS
    for seconds, english, russian in ((-400, "is sent twice", "дважды"),
                                      (400, "certificates", "сертификаты")):  # fmt: skip
        [first, *_] = findings(facts(**of_portal(clock_seconds=seconds)), ALL)
        assert english in told(first)[0]
        assert russian in told(first)[1]


def test_each_missing_right_is_named() -> None:
    found = findings(facts(**of_portal(rights=frozenset({"app"}))), ALL)

    missing = [one for one in found if one.check == "rights"]
    assert len(missing) == 5
    for finding, right in zip(
        missing, ("imopenlines", "imconnector", "im", "placement", "user_brief"), strict=True
    ):
        assert all(f" {right} " in text for text in told(finding))
        assert all("app" in text for text in told(finding)), "what is granted"


def test_the_page_that_a_portal_has_opened_elsewhere_names_what_to_set() -> None:
    [first, *_] = findings(
        facts(
            **with_settings(public_url="http://127.0.0.1:8080/live"),
            **of_kept(seen_addresses={"portal": "https://chat.example"}),
        ),
        ALL,
    )

    assert all('public_url = "https://chat.example/live"' in text for text in told(first))


@pytest.mark.parametrize(
    "said",
    [
        {"visitors": OTHER},  # as an earlier release has noted it
        visited(2),
        visited(5, NOW - DAY - 1),
        Named(NOW, NOW, 99, {"a": NOW, "b": NOW, "c": NOW - DAY}),
    ],
)
def test_an_address_that_few_visitors_name_lately_is_not_told(said: Any) -> None:
    """And however many do, where `public_url` cannot be right nothing of theirs is to be pasted."""
    is_of_one = isinstance(said, dict)
    noted = {"seen_addresses": said} if is_of_one else {"visited_addresses": {OTHER: said}}
    assert "www." not in " ".join(told_all(facts(**of_kept(**noted))))

    many = {OTHER: visited(9)}
    [first, *_] = findings(
        facts(**with_settings(public_url=HERE), **of_kept(visited_addresses=many)), ALL
    )
    assert (first.level, first.key) == (BROKEN, "address_here")
    assert not any("www." in text for text in told(first))


def test_the_sites_of_most_visitors_are_named_first_in_the_form_that_cannot_deceive() -> None:
    tried = {f"https://{number}.example": Named(NOW, NOW, 99, {"one": NOW}) for number in range(9)}
    tried["https://xn--80avem4d.xn--p1ai"] = Named(NOW, NOW - 60, 1, {"another": NOW})
    [finding] = [one for one in findings(facts(**of_kept(tried_sites=tried)), ALL)
                 if one.check == "sites"]  # fmt: skip

    assert finding.level is GOOD
    assert ": https://xn--80avem4d.xn--p1ai (https://лампы.рф), https" in told(finding)[0]


@pytest.mark.parametrize("language", ["en", "ru"])
def test_how_a_password_is_written_in_an_address_is_said(language: str) -> None:
    texts = all_texts(language)
    for said in (
        texts["settings"]["store_server"],
        texts["doctor"]["server_address"],
        texts["doctor"]["server_login"],
    ):
        assert all(code in said for code in ("%25", "%20", "%23", "%40", "%2F", "%3A")), said


def test_no_finding_has_a_secret() -> None:
    for finding in every([*FAULTS, *HARMLESS]):
        shown = " ".join([*told(finding), json.dumps(as_plain(finding))])
        assert "refresh" not in shown
        assert '"access"' not in shown


def test_a_handler_of_ours_is_named_where_events_are_missing() -> None:
    [first, *_] = findings(facts(**of_portal(bindings=())), ALL)

    assert HANDLER in told(first)[0]
    assert HANDLER.startswith(URL)


DOWN = {"oauth": TryLater("CONNECTION_LOST", OAUTH_APP_INFO)}


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (  # the token is over, and no other one can be had: of the portal nobody knows anything
            {"portal": TryLater("CONNECTION_LOST", OAUTH), **DOWN,
             **of_kept(portal=replace(INSTALLED, expires_at=NOW - 1))},
            "oauth.server_unreachable",
        ),
        (  # the portal has ended it before its time
            {"portal": TryLater("CONNECTION_LOST", OAUTH), **DOWN},
            "oauth.server_unreachable",
        ),
        (
            {"portal": SetupFault("EXPIRED_TOKEN", OAUTH), **DOWN},
            "oauth.server_unreachable",
        ),
        (
            {"portal": SetupFault("INVALID_CLIENT", OAUTH), **of_kept(
                fault=ReportedFault(OAUTH, "INVALID_CLIENT"), secret_is_proved=False,
                refused_renewal=ReportedFault(OAUTH, "INVALID_CLIENT"))},
            "secret.secret_wrong",
        ),
        (
            {"portal": SetupFault(CERTIFICATE_EXPIRED, OAUTH)},
            "oauth.certificate_expired",
        ),
    ],
)  # fmt: skip
def test_a_fault_of_the_oauth_server_is_not_called_one_of_the_portal(
    changes: dict[str, Any], broken: str
) -> None:
    found = findings(facts(**changes), ALL)

    [one] = [one for one in found if one.level is BROKEN]
    assert cause_of(one) == broken
    assert one.values["server"] == OAUTH_SERVER


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        (
            {**fault("INSUFFICIENT_SCOPE"), **of_portal(rights=frozenset({"imopenlines", "im"}))},
            "rights.right_imconnector",
        ),
        (
            {**fault("IMCONNECTOR_NOT_SPECIFIED_CORRECT_CONNECTOR"),
             **of_portal(connectors=frozenset({"livechat"}), statuses={LINE: False})},
            "connector.connector_unknown",
        ),
        (  # there is nothing to choose in the Contact Center
            {**of_kept(active_lines=(), waiting=WAITS),
             **of_portal(connectors=frozenset({"livechat"}))},
            "connector.connector_unknown",
        ),
        (
            {**of_kept(active_lines=(), is_registered=False)},
            "install.not_registered",
        ),
        (
            {**of_kept(dead_lines={LINE: "-"},
                       refused_registration=ReportedFault("imconnector.register", "REFUSED")),
             **of_portal(connectors=frozenset({"livechat"}), statuses={LINE: False})},
            "install.registration_refused",
        ),
        (
            {**of_kept(fault=ReportedFault(OAUTH, "INVALID_CLIENT")),
             "oauth": TokenHome("local.another", "member", "https://b24.example")},
            "oauth.other_application",
        ),
    ],
)  # fmt: skip
def test_of_findings_with_one_root_only_the_most_specific_is_broken(
    changes: dict[str, Any], broken: str
) -> None:
    found = findings(facts(**changes), ALL)

    assert [cause_of(one) for one in found if one.level is BROKEN] == [broken]


def test_a_fault_of_another_root_stays() -> None:
    found = findings(
        facts(**fault("ACCESS_DENIED"), **of_portal(connectors=frozenset({"livechat"}))), ALL
    )

    assert {cause_of(one) for one in found if one.level is BROKEN} == {
        "delivery.method_refused", "connector.connector_unknown"
    }  # fmt: skip


def test_each_cause_that_explains_another_is_one_that_the_doctor_names() -> None:
    named = all_texts("en")["doctor"]

    for cause in EXPLAINS.keys() | set().union(*EXPLAINS.values()):
        check, _, key = cause.partition(".")
        assert {f"check_{check}", key} <= named.keys(), cause
