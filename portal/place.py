"""Where the portal is: the setting, or the address that an administrator has agreed to."""

from rest.errors import OF_OAUTH_SERVER
from settings import Bitrix24Settings
from storage import Store


def portal_address(settings: Bitrix24Settings, store: Store) -> str:
    """The address that is called; a new setting ends what was agreed before."""
    agreed = store.notes.new_address.get()
    return agreed.address if agreed and agreed.setting == settings.portal else settings.portal


def end_former_agreement(settings: Bitrix24Settings, store: Store) -> None:
    """Forget an address that was agreed to for another setting, which may be set again one day."""
    agreed = store.notes.new_address.get()
    if agreed and agreed.setting != settings.portal:
        store.notes.new_address.clear()


def asked(settings: Bitrix24Settings, portal: str, method: str) -> str:
    """The address of the server that was asked by this method."""
    return settings.oauth_server if method in OF_OAUTH_SERVER else portal
