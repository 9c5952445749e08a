"""Changes at random places of an input, drawn by hypothesis."""

from hypothesis import strategies as st

EDITS = st.lists(
    st.tuples(
        st.integers(0, 2**16),
        st.integers(0, 40),
        st.binary(max_size=4) | st.sampled_from([b"\n", b" ", b"\n\n"]),
    ),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for where, length, new in edits:
        at = where % (len(data) + 1)
        data = data[:at] + new + data[at + length :]
    return data
