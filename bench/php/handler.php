<?php
// Operators' messages: each is stored and confirmed before we answer.

require __DIR__ . '/chat.php';

if (($_POST['event'] ?? '') === 'ONIMCONNECTORMESSAGEADD') {
    foreach ($_POST['data']['MESSAGES'] as $message) {
        $key = keep($message['chat']['id'], $message);
        call_portal('imconnector.send.status.delivery', [
            'CONNECTOR' => CONNECTOR,
            'LINE' => $_POST['data']['LINE'],
            'MESSAGES' => [[
                'im' => $message['im'],
                'message' => ['id' => [$key]],
                'chat' => ['id' => $message['chat']['id']],
            ]],
        ]);
    }
}
