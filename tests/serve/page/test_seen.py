"""How the page is seen: themes, contrast, a phone."""

import re

import pytest

PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True}
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
EVERYTHING = """# Heading

Text with `code`, [a link](https://example.org/map) and *more*.

> said

```python
def total(n):  # a comment
    return "text" * 3
```

| a | b |
| - | - |
| 1 | 2 |"""

# Texts whose contrast with what is behind them is below 4.5, WCAG's level AA; disabled ones are free.
PALE = """() => {
    const numbers = (colour) => {
        const [r, g, b, a = 1] = colour.match(/[\\d.]+(e-?\\d+)?/g).map(Number);
        return colour.startsWith("color(") ? [255 * r, 255 * g, 255 * b, a] : [r, g, b, a];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
    const ground = (node) => {
        if (!node) return [255, 255, 255];
        const own = numbers(getComputedStyle(node).backgroundColor);
        return own[3] === 1 ? own.slice(0, 3) : over(own, ground(node.parentElement));
    };
    const light = (rgb) => {
        const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = rgb.map((value) => linear(value / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const pale = (node, pseudo, text) => {
        const under = ground(node);
        const [a, b] = [light(over(numbers(getComputedStyle(node, pseudo).color), under)), light(under)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        return ratio < 4.5 ? [`${text.trim().slice(0, 30)} (${node.className}) ${ratio.toFixed(2)}`] : [];
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const node = texts.currentNode.parentElement;
        const isShown = texts.currentNode.data.trim() && node.checkVisibility() && !node.closest(":disabled, noscript");
        if (isShown) found.push(...pale(node, null, texts.currentNode.data));
    }
    for (const node of document.querySelectorAll("[placeholder]"))
        if (node.checkVisibility()) found.push(...pale(node, "::placeholder", node.placeholder));
    return found;
}"""


def ground(page) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))]


def test_dark_and_light_follow_the_system_until_chosen(page_server, visit, expect):
    page = visit.open(page_server())
    assert min(ground(page)[:3]) > 200
    page.emulate_media(color_scheme="dark")
    assert max(ground(page)[:3]) < 60
    page.get_by_label("Theme: as the system").click()
    assert min(ground(page)[:3]) > 200
    visit.reload()
    expect(page.get_by_label("Theme: light")).to_be_visible()
    assert min(ground(page)[:3]) > 200, "remembered"
    page.get_by_label("Theme: light").click()
    page.emulate_media(color_scheme="light")
    assert max(ground(page)[:3]) < 60


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(page_server, visit, expect):
    server = page_server(names=("a-model-with-a-very-long-name-of-its-own-2024-11-26", "b"))
    server.workers[0].answers["Wide"] = [
        ("text", "x" * 400 + "\n\n```python\n" + "y" * 300 + "\n```\n\n"),
        ("text", "|" + " wide column |" * 12 + "\n|" + " --- |" * 12),
        *[("python", "1 + " * 100), ("python_output", "9" * 300)],
    ]  # fmt: skip
    page = visit.open(server)
    assert page.evaluate(OVERFLOW) <= 0
    box = page.get_by_label("Message", exact=True)
    box.fill("Wide")
    page.get_by_label("Send", exact=True).tap()  # Enter is a new line here
    visit.is_idle()
    expect(page.locator(".tool samp")).to_be_visible()
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate("[...document.querySelectorAll('#scroller')].every(n => n.scrollWidth <= n.clientWidth)")
    drawer = page.get_by_role("complementary", name="Conversations")
    expect(drawer).to_be_hidden()
    page.get_by_label("Open the list of conversations").tap()
    expect(drawer).to_be_visible()
    expect(page.get_by_role("button", name="New conversation")).to_be_focused()
    assert page.evaluate("document.querySelector('main').inert")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page.get_by_label("Open the list of conversations")).to_be_focused()
    page.get_by_label("Settings").tap()
    sheet = page.get_by_role("dialog", name="Settings")
    expect(sheet).to_be_visible()
    assert page.evaluate(OVERFLOW) <= 0
    assert sheet.evaluate("(node) => node.scrollWidth - node.clientWidth") <= 0


@pytest.mark.parametrize("visit", [PHONE], indirect=True)
def test_token_probabilities_by_touch(page_server, visit, expect):
    page = visit.open(page_server())
    page.get_by_label("Settings").tap()
    page.get_by_label("Token probabilities").tap()
    page.get_by_label("Close", exact=True).tap()
    page.get_by_label("Message", exact=True).fill("Hello")
    page.get_by_label("Send", exact=True).tap()
    expect(page.locator(".answer .parts")).to_have_text("You said: Hello")
    visit.is_idle()
    card = page.get_by_role("tooltip")
    page.locator(".token").nth(1).tap()
    expect(card).to_contain_text("·said: 40.0 %")
    box = card.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 375
    page.locator("#title").tap()
    expect(card).to_be_hidden()


@pytest.mark.parametrize("visit", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True, ids=str)
def test_every_text_can_be_read(page_server, visit, expect):
    server = page_server()
    server.worker.answers |= {
        "Show": [("text", EVERYTHING), ("python", "14 * 3"), ("python_output", "42")],
        "Break": [("text", "Half"), ("pause", ""), ("error", "")],
    }
    page = visit.open(server)
    assert page.evaluate(PALE) == [], "nothing said yet"
    visit.say("Show")
    page.get_by_label("Search conversations").fill("total")
    expect(page.locator("mark").first).to_be_visible()
    assert page.evaluate(PALE) == [], "an answer, and what was found"
    page.get_by_label("Search conversations").fill("")
    page.keyboard.press("Control+,")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Seed", exact=True).fill("-1")
    page.get_by_label("Token probabilities").check()
    assert page.evaluate(PALE) == [], "settings, one of them wrong"
    page.keyboard.press("Escape")
    page.keyboard.press("Control+Shift+O")
    visit.say("Break", until_answered=False)
    page.locator(".token").hover()
    server.worker.go_on()
    page.get_by_label("Delete Show").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.locator("#notices")).to_contain_text("deleted")
    assert page.evaluate(PALE) == [], "tokens, an error, a notice"
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate(PALE) == [], "shortcuts"
