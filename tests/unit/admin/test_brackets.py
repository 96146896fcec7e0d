"""Arrays in a query: brackets are taken off names, and off nothing else."""

import pytest

from admin.brackets import unbracketed


@pytest.mark.parametrize(
    ("query", "plain"),
    [
        (b"", b""),
        (b"a=1", b"a=1"),
        (b"a[]=1", b"a=1"),
        (b"a%5B%5D=1&a%5b%5d=2&b=3", b"a=1&a=2&b=3"),
        (b"start=1&a[]=1&a=2", b"start=1&a=1&a=2"),
        (b"a[]&b[]", b"a&b"),
        (b"a=x[]&b=y%5B%5D", b"a=x[]&b=y%5B%5D"),
        (b"a=[]=1", b"a=[]=1"),
        (b"a[0]=1", b"a[0]=1"),
        (b"[]=1", b"[]=1"),
        (b"a[][]=1", b"a[]=1"),
    ],
)
def test_brackets_are_taken_off_names(query: bytes, plain: bytes) -> None:
    """Guards against a value that loses characters, such as a model's name."""
    assert unbracketed(query) == plain
