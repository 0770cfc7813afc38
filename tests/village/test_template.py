import pytest

from nanolit.village.draw import Draw
from nanolit.village.template import Template

CAST = {
    "hero": {"": "Ada", "he": "she", "him": "her", "his": "her", "himself": "herself"},
    "friend": {"": "Otto", "his": "his"},
    "item": {"a": "a kite"},
}


def texts(source: str, macros: dict[str, str] | None = None) -> set[str]:
    template = Template(source, macros or {})
    return {template.render(dict(CAST), Draw(seed)) for seed in range(200)}


def test_slots_and_capitals():
    assert texts("{He} saw {friend} and {friend.his} hat. {Item.A}! {item.A}!") == {
        "She saw Otto and his hat. A kite! A kite!"
    }


def test_choices_nest_and_may_be_empty():
    assert texts("[a|b [c|d]|]!") == {"a!", "b c!", "b d!", "!"}
    assert texts("[{hero}|{friend}]") == {"Ada", "Otto"}


def test_a_remembered_choice_keeps_its_forms_together():
    assert texts("{x=cat/cats|ox/oxen}, {x}, {x.2}") == {"cat, cat, cats", "ox, ox, oxen"}


def test_a_remembered_choice_is_not_asked_of_the_cast():
    assert Template("{x=a|b} {hero} [{item.a}|{x}]", {}).roles == {"hero", "item"}


def test_macros_may_hold_macros():
    assert texts("<greet>.", {"greet": "Hello <who>", "who": "{hero}"}) == {"Hello Ada."}


def test_line_ends_are_spaces_and_blank_lines_paragraphs():
    assert texts("\n   one\n   two [three|\n   three]\n\n   four\n ") == {"one two three\n\nfour"}


@pytest.mark.parametrize("source", ["[a|b", "a]", "{hero", "{x=a|b", "{x={hero}|b}", "a | b", "{a b}", "[a}"])
def test_broken_templates_are_refused(source):
    with pytest.raises(ValueError, match=r"not|unbalanced|must"):
        Template(source, {})
