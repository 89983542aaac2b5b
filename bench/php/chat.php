<?php
// What the PHP stand-in knows of chats and of the portal. Written by us from a description of the
// vendor's tutorial; nothing of its text is here. A chat is one JSON file, which each message
// writes anew and each poll reads as a whole; nothing is locked.

const CONNECTOR = 'example_connector_1';

function chat_id(): string
{
    session_start();
    return 'chat' . md5($_SERVER['HTTP_ORIGIN'] ?? '') . md5(session_id());
}

function file_of(string $chat): string
{
    return $_SERVER['BENCH_CHATS'] . "/$chat.txt";
}

function messages_of(string $chat): array
{
    $file = file_of($chat);
    return file_exists($file) ? json_decode(file_get_contents($file), true) ?? [] : [];
}

/** Adds a message to the chat's file; returns its key there. */
function keep(string $chat, array $message): string
{
    $messages = messages_of($chat);
    $key = 'message' . count($messages);
    $messages[$key] = $message;
    file_put_contents(file_of($chat), json_encode($messages));
    return $key;
}

/** Calls a method of the portal and waits for its answer. */
function call_portal(string $method, array $parameters): array
{
    $curl = curl_init($_SERVER['BENCH_PORTAL'] . "/rest/$method.json");
    curl_setopt_array($curl, [
        CURLOPT_POST => true,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_POSTFIELDS => http_build_query($parameters + ['auth' => 'token']),
    ]);
    $answer = curl_exec($curl);
    curl_close($curl);
    return $answer === false ? ['error' => 'NO_ANSWER'] : json_decode($answer, true) ?? [];
}

/** A few BB codes of an operator's message, as HTML. */
function to_html(string $text): string
{
    $text = preg_replace('#\[b\](.*?)\[/b\]#is', '<b>$1</b>', $text);
    $text = preg_replace('#\[i\](.*?)\[/i\]#is', '<i>$1</i>', $text);
    $text = preg_replace('#\[url=(.*?)\](.*?)\[/url\]#is', '<a href="$1">$2</a>', $text);
    return str_replace('[br]', '<br>', $text);
}
