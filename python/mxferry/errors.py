"""The library's only exception type."""


class Error(RuntimeError):
    """What went wrong, where, and what to do about it; `str(error)` is one printable line.

    `code` names the cause, for example "wrong_shape"; `category` says where the fault is: "usage",
    "source", "system", "limit" or "cancelled". The other attributes are the parts of the message,
    "" if absent. include/mxferry/error.h lists the codes.
    """

    def __init__(
        self,
        message: str,
        code: str,
        category: str,
        *,
        file: str = "",
        tensor: str = "",
        expected: str = "",
        found: str = "",
        advice: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.category = category
        self.file = file
        self.tensor = tensor
        self.expected = expected
        self.found = found
        self.advice = advice

    def within(self, where: str, **changed: str) -> "Error":
        """A copy of the error with the message `where: message` and these parts changed."""
        names = ("file", "tensor", "expected", "found", "advice")
        parts = {name: getattr(self, name) for name in names} | changed
        return Error(f"{where}: {self}", self.code, self.category, **parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Supports pickling, because errors are sent from one process to another."""
        return (type(self), (str(self), self.code, self.category), self.__dict__.copy())
