"""The one exception of the library."""


class Error(RuntimeError):
    """What went wrong, where, and what to do about it; `str(error)` is one printable line.

    `code` names the cause, for example "wrong_shape"; `category` says who is to blame: "usage",
    "source", "system", "limit" or "cancelled". The others are the parts of the message, "" where
    there is nothing to say. docs/python.md lists the codes.
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
        """The same error as `where: message`, with these parts changed."""
        names = ("file", "tensor", "expected", "found", "advice")
        parts = {name: getattr(self, name) for name in names} | changed
        return Error(f"{where}: {self}", self.code, self.category, **parts)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickles: errors cross from one process to another."""
        return (type(self), (str(self), self.code, self.category), self.__dict__.copy())
