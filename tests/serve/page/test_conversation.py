"""A conversation in the page: streaming, Markdown, tool calls, stop, edit, regenerate, models without chat tokens."""

import re

import pytest

STORY = "in the yellow cottage. To visit Tomas she had to cross a narrow bridge. It was gone!"


def test_a_conversation_streams_in(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Tell me a story"] = [("text", "Hazel lived "), ("pause", ""), ("text", STORY)]
    page = visit.open(server)
    visit.say("Tell me a story", until_answered=False)
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator(".answer")).to_contain_text("Hazel lived")
    expect(page.locator(".answer .actions")).to_be_hidden()  # there is nothing whole to copy yet
    server.worker.go_on()
    visit.is_idle()
    assert visit.answers() == [f"Hazel lived {STORY}"]
    expect(page.locator(".figures")).to_contain_text(re.compile(r"^\d+ tokens.*tokens/s"))
    expect(page.locator("#title")).to_have_text("Tell me a story")
    expect(page.locator("#announcer")).to_contain_text("It was gone!")  # read out to those who do not see
    visit.say("And then?")
    assert visit.answers()[1] == "You said: And then?"
    assert STORY in server.worker.prompt(-1), "the second turn knows the first"


def test_markdown_is_drawn_and_code_can_be_copied(page_server, visit, expect):
    server = page_server()
    code = "def total(n):\n    return n * 3"
    server.worker.answers["Show"] = [
        (
            "text",
            f"# Market\n\n**bold** *slanted* `code` ~~gone~~ snake_case_name 2 * 3 * 4\n\n- one\n- two\n  1. three\n\n"
            f"| a | b |\n| :-- | --: |\n| 1 | 2 |\n\n> said\n\n```python\n{code}\n```\n\n[map](https://example.org/m)",
        )
    ]
    page = visit.open(server)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.say("Show")
    answer = page.locator(".answer")
    expect(answer.get_by_role("heading", name="Market")).to_be_visible()
    for tag, text in (("strong", "bold"), ("em", "slanted"), ("del", "gone"), ("blockquote", "said"), ("td", "1")):
        expect(answer.locator(tag).first).to_have_text(text)
    expect(answer.locator("em")).to_have_count(1)
    expect(answer.locator("ul > li > ol > li")).to_have_text("three")
    expect(answer.locator(".code figcaption")).to_contain_text("python")
    link = answer.get_by_role("link")
    assert (link.get_attribute("href"), "noopener" in link.get_attribute("rel")) == ("https://example.org/m", True)
    expect(answer).to_contain_text("map (example.org)")
    answer.get_by_label("Copy this code").click()
    expect(answer.get_by_label("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == code
    expect(answer.get_by_label("Copied")).to_be_hidden()  # said for a moment
    page.get_by_label("Copy answer").click()
    expect(answer.get_by_label("Copied").last).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").startswith("# Market\n\n**bold**")
    page.locator(".user").hover()
    page.get_by_label("Copy message").click()
    expect(page.locator(".user").get_by_label("Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "Show"


def test_a_tool_call_looks_like_one_and_stays_in_the_history(page_server, visit, expect):
    server = page_server()
    server.worker.answers["14 * 3?"] = [
        ("text", "I calculate: "), ("python", "14 * 3"), ("python_output", "42"), ("text", "It is 42.")
    ]  # fmt: skip
    page = visit.open(server)
    visit.say("14 * 3?")
    tool = page.get_by_role("figure", name="Tool call")
    expect(tool).to_contain_text("Python")
    expect(tool.locator("pre")).to_have_text("14 * 3")
    expect(tool.locator("samp")).to_have_text("42")
    expect(page.locator(".answer .prose").last).to_have_text("It is 42.")
    visit.say("Thanks")
    assert "<|python_start|>14 * 3<|python_end|><|output_start|>42<|output_end|>It is 42." in server.worker.prompt(-1)


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_keeps_what_came_and_the_server_learns_of_it(page_server, visit, how, expect):
    server = page_server()
    server.worker.answers["Go on"] = [("text", "word " * 20), ("pause", ""), ("text", "word " * 2000)]
    page = visit.open(server)
    visit.say("Go on", until_answered=False)
    expect(page.locator(".answer")).to_contain_text("word " * 20)
    if how == "button":
        page.get_by_label("Stop the answer").click()
    else:
        page.keyboard.press("Escape")
    visit.is_idle()
    expect(page.locator(".figures")).to_contain_text("stopped")
    part = visit.answers()[0]
    assert part.count("word") == 20
    server.worker.wait_for_cancel()
    visit.reload()
    expect(page.locator(".answer .parts")).to_have_text(part.strip())
    visit.say("Go")
    assert len(visit.answers()) == 2, "the conversation goes on"


def test_edit_and_resend_restarts_from_there(page_server, visit, expect):
    server = page_server()
    page = visit.open(server)
    visit.say("First")
    visit.say("Second")
    page.locator(".user").first.hover()
    page.get_by_label("Edit and send again").first.click()
    box = page.get_by_label("Edit message")
    expect(box).to_be_focused()
    page.keyboard.press("Escape")
    assert visit.users() == ["First", "Second"], "Escape changes nothing"
    page.get_by_label("Edit and send again").first.click()
    box.fill("Changed")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_count(1)
    expect(page.locator(".answer .parts")).to_have_text("You said: Changed")
    visit.is_idle()
    assert visit.users() == ["Changed"]
    assert "First" not in server.worker.prompt(-1)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".user .said")).to_have_text(["First", "Second"])


def test_regenerate_replaces_the_answer(page_server, visit, expect):
    server = page_server()
    page = visit.open(server)
    visit.say("Hello")
    server.worker.answers["Hello"] = [("text", "Something else")]
    page.get_by_label("Regenerate this answer").click()
    expect(page.locator(".answer .parts")).to_have_text("Something else")
    visit.is_idle()
    assert (visit.users(), len(server.worker.asked)) == (["Hello"], 2)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".answer .parts")).to_have_text("You said: Hello")


def test_an_answer_goes_on_while_another_conversation_is_shown(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Long"] = [("text", "word " * 30), ("pause", ""), ("text", "word " * 30)]
    page = visit.open(server)
    visit.say("Long", until_answered=False)
    expect(page.locator(".answer")).to_contain_text("word")
    page.keyboard.press("Control+Shift+O")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.get_by_role("img", name="answering")).to_be_visible()
    visit.say("Short")
    server.worker.go_on()
    expect(page.get_by_role("img", name="answering")).to_be_hidden()
    page.get_by_role("button", name="Long", exact=True).click()
    assert visit.answers()[0].count("word") == 60


def test_a_base_model_continues_texts(page_server, visit, expect):
    server = page_server(has_chat=False)
    server.worker.answers["Once upon"] = [("text", " a time **there** was")]
    server.worker.answers["Once upon a time **there** was"] = [("text", " a miller.")]
    page = visit.open(server)
    expect(page.get_by_role("heading", name="Begin a text")).to_be_visible()
    visit.say("Once upon")
    assert page.locator(".answer .said").text_content() == "a time **there** was", "plain text, no Markdown"
    visit.say("")
    assert page.locator(".answer .said").all_text_contents()[1] == "a miller."
    assert not server.worker.asked[0].chat
    page.keyboard.press("Control+,")
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    expect(page.get_by_label("System prompt")).to_have_count(0)  # it has no turns
    page.get_by_label("Token probabilities").check()
    page.keyboard.press("Escape")
    server.worker.answers["Once upon a time **there** was a miller. Then"] = [("text", " he lived")]
    visit.say(" Then")
    page.locator(".token").last.hover()
    expect(page.get_by_role("tooltip").locator("tr")).to_have_count(5)
    expect(page.get_by_role("tooltip").locator("tr.chosen")).to_have_text(re.compile("·lived"))
