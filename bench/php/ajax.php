<?php
// The page's two requests: the whole history, and one message, which the portal has before we answer.

require __DIR__ . '/chat.php';

$chat = chat_id();

if ($_POST['type'] === 'chat_history') {
    $html = '';
    foreach (messages_of($chat) as $message) {
        $from = isset($message['im']) ? 'operator' : 'visitor';
        $text = to_html($message['message']['text']);
        $html .= "<div class=\"message $from\"><div class=\"body\">$text</div></div>\n";
    }
    echo $html;
} elseif ($_POST['type'] === 'send_message') {
    $text = htmlspecialchars($_POST['message']);
    $message = [
        'user' => ['id' => $chat, 'name' => htmlspecialchars($_POST['name'] ?? '')],
        'message' => ['id' => false, 'date' => time(), 'text' => $text],
        'chat' => ['id' => $chat, 'url' => htmlspecialchars($_SERVER['HTTP_REFERER'] ?? '')],
    ];
    $message['message']['id'] = keep($chat, $message);
    $result = call_portal('imconnector.send.messages', [
        'CONNECTOR' => CONNECTOR, 'LINE' => 7, 'MESSAGES' => [$message],
    ]);
    header('Content-Type: application/json');
    echo json_encode(['chat' => $chat, 'post' => $_POST, 'result' => $result]);
}
