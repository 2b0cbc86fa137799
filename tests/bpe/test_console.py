"""Arguments as people type them, and text that no terminal is harmed by."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpe.console import Parser, check_writable, typed, visible, whole

FLAGS = st.lists(st.sampled_from([
    ["--n_layer", "3"], ["--n-layer", "3"], ["--n_layer=3"], ["--n-layer=3"]]), max_size=1)
WORDS = st.lists(st.one_of(
    st.sampled_from(["-", "-5", "-.5", "- well", "--well known-to all", "a=b", "n-layer", "ü→"]),
    st.text(st.characters(exclude_characters="-", codec="utf-8"), min_size=1)), max_size=4)
ANYTHING = st.text(min_size=1).filter(lambda word: word != "--")


def parse(args):
    parser = Parser(prog="x")
    parser.add_argument("words", nargs="*", default=[])
    parser.add_argument("--n_layer", type=whole, default=0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--stop", action="append", default=[])
    return parser.parse_args(args)


@given(WORDS, FLAGS, st.booleans(), st.lists(ANYTHING, max_size=3), st.data())
def test_flags_stand_anywhere_and_words_stay_as_they_are(words, flags, plain, behind, data):
    args, flags = [*words], flags + [["--plain"]] * plain
    places = [data.draw(st.integers(0, len(words))) for _ in flags]
    for place, flag in sorted(zip(places, flags), reverse=True):
        args[place:place] = flag
    found = parse([*args, "--", *behind] if behind else args)
    assert found.words == words + behind
    assert found.plain == plain and found.n_layer == (3 if len(flags) > plain else 0)


@given(ANYTHING)
def test_a_value_may_be_anything_but_a_flag(value):
    if value.partition("=")[0] not in ("--plain", "--stop", "--n_layer", "--n-layer", "--help"):
        assert parse(["--stop", value]).stop == [value]
    assert parse([f"--stop={value}"]).stop == [value]


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_visible_moves_no_cursor_and_keeps_the_rest(text):
    shown = visible(text)
    assert not {c for c in shown if c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160)}
    plain = [c for c in text if c in "\n\t" or ord(c) >= 32 and not 127 <= ord(c) < 160]
    assert shown == text if len(plain) == len(text) else "\\x" in shown or "\\r" in shown
    assert typed(text) == text


def test_a_place_to_write_is_checked_before_the_work(tmp_path):
    check_writable(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    for path in (tmp_path, tmp_path / "nowhere" / "new", "/dev/null"):
        with pytest.raises(OSError, match="to write"):
            check_writable(path)
