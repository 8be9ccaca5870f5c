"""A scripted server of the OpenAI protocol on this machine, and settings that lead to it."""

import json
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

KEY = "sk-loopback-secret-0123456789"
PATH = "/v1/chat/completions"


def completion(content: Any) -> dict[str, Any]:
    return {"id": "c", "object": "chat.completion", "created": 0, "model": "stub",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}]}  # fmt: skip


def answer(action: Any, reflection: Any = "because") -> str:
    return json.dumps({"reflection": reflection, "action": action})


class Script:
    """Gives its replies in turn, the last one again and again; keeps what it was asked."""

    def __init__(self, server: HTTPServer, *replies: Any):
        self.replies, self.requests, self.keys = list(replies), [], []
        server.expect_request(PATH, method="POST").respond_with_handler(self)

    def __call__(self, request: Request) -> Response:
        self.requests.append(json.loads(request.get_data()))
        self.keys.append(request.headers.get("Authorization"))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if callable(reply) and not isinstance(reply, Response):
            reply = reply(self.requests[-1])
        if isinstance(reply, Response):
            return reply
        return Response(json.dumps(completion(reply)), content_type="application/json")


def agent_config(server: HTTPServer, **changes: Any) -> dict[str, Any]:
    return {"backend": "openai", "model": "stub", "base_url": server.url_for("/v1"), "timeout": 5, **changes}


def config_for(server: HTTPServer, parent: Any, env: str = "BlackjackLLM-v1", **changes: Any) -> dict[str, Any]:
    experiment = {"parent": str(parent), "name": "test", "use_datetime": False, "save_gif": False, "verbose": False}
    return {"agent": agent_config(server, **changes.pop("agent", {})),
            "environment": {"name": env, "kwargs": changes.pop("kwargs", None)}, "experiment": experiment | changes}  # fmt: skip
