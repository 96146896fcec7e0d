"""vLLM's refusals (pure): the envelope, word for word as the engine says them.

EngineRefusal
|- BadRequest       400, type BadRequestError
|- InvalidField     400, type "Bad Request": what the engine's schema refuses before the engine looks
|- UnknownModel     404
|- Overloaded       503, the queue is full
`code` is the integer HTTP status. `{"detail": ...}` bodies come from the web framework, not from the engine.
"""

import msgspec


class EngineRefusal(Exception):
    """The engine refuses the request and says why."""

    status = 400
    kind = "BadRequestError"

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    def body(self) -> bytes:
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.kind,
                    "param": self.param,
                    "code": self.status,
                }
            }
        )


class BadRequest(EngineRefusal):
    """A field's value that the engine does not take."""

    @classmethod
    def about(cls, message: str, parameter: str, value: object = None) -> "BadRequest":
        """The engine repeats the parameter, and where it knows it the value, behind the message."""
        said = f", value={value}" if value is not None else ""
        return cls(f"{message} (parameter={parameter}{said})", parameter)


class InvalidField(EngineRefusal):
    """A body that the engine's schema refuses."""

    kind = "Bad Request"

    @classmethod
    def validation(cls, error: dict[str, object]) -> "InvalidField":
        return cls(f"1 validation error:\n  {error}", str(error["loc"]))


class UnknownModel(EngineRefusal):
    """A model that is not served."""

    status = 404
    kind = "NotFoundError"


class Overloaded(EngineRefusal):
    """Too many requests wait."""

    status = 503
    kind = "Service Unavailable"

    def __init__(self) -> None:
        super().__init__(
            "The engine is currently busy and cannot accept new requests. "
            "Please try again later or on a different instance."
        )


# The event with which a stream tells that the engine died under it; spaces as Python's json writes them.
ENGINE_DIED_EVENT = (
    b'data: {"error": {"message": "EngineCore encountered an issue. See stack trace (above) '
    b'for the root cause.", "type": "InternalServerError", "param": null, "code": 500}}\n\n'
)
