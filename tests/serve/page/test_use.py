"""How the page is used without a mouse and without eyes: the keyboard, names, what is read out."""


def test_everything_goes_by_keyboard(page_server, visit, expect):
    server = page_server()
    page = visit.open(server)
    box = page.get_by_label("Message", exact=True)
    expect(box).to_be_focused()
    page.keyboard.type("two")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("lines")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .parts")).to_have_text("You said: two\nlines")
    visit.is_idle()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Edit message")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(box).to_be_focused()
    assert box.input_value() == ""
    page.keyboard.press("Shift+Tab")  # out of the box, into the messages
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("button", name="two lines", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Rename two lines")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # delete
    expect(page.get_by_role("button", name="New conversation")).to_be_focused()
    for key in ("Control+k", "/"):
        page.keyboard.press(key)
    expect(page.get_by_label("Search conversations")).to_have_value("/")  # a letter where letters are written
    focusable = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea')].filter(n => n.checkVisibility()).length"
    )
    idle = page.evaluate("getComputedStyle(document.querySelector('#composer')).borderColor")
    rings = set()
    for _ in range(focusable + 3):
        page.keyboard.press("Tab")
        rings.add(
            page.evaluate(
                """(idle) => { const node = document.activeElement; if (node === document.body) return "out";
                const form = node.closest("#composer"); const style = getComputedStyle(node);
                if (form && node.id === "input") return getComputedStyle(form).borderColor !== idle;
                return style.outlineStyle !== "none"; }""",
                idle,
            )
        )
    assert False not in rings, "the focus can be seen everywhere"


NAMELESS = """() => {
    const wanted = "button, input, select, textarea, a[href], dialog[open], figure, nav, aside, [role], [tabindex='0']";
    const labelled = (node) => (node.getAttribute("aria-labelledby") ?? "").split(" ")
        .map((id) => document.getElementById(id)?.textContent ?? "").join("");
    const name = (node) => node.getAttribute("aria-label") || labelled(node) ||
        [...(node.labels ?? [])].map((label) => label.textContent).join("") ||
        (node.matches("input, textarea, select") ? "" : node.textContent);
    const free = "[role=list], [role=alert], [role=status], [role=tooltip], #notices, figure.code";
    return [...document.querySelectorAll(wanted)]
        .filter((node) => node.checkVisibility() && !node.matches(free) && !name(node).trim())
        .map((node) => node.outerHTML.slice(0, 120));
}"""


def test_every_control_has_a_name(page_server, visit):
    server = page_server(names=("a", "b"))
    code = "```python\n1\n```\n\n| a |\n| --- |\n| 1 |"
    server.workers[0].answers["Show"] = [("text", code), ("python", "1"), ("python_output", "1"), ("text", "x")]
    page = visit.open(server)
    assert page.evaluate(NAMELESS) == []
    visit.say("/topk 3", until_answered=False)
    page.keyboard.press("Control+,")
    page.get_by_label("Token probabilities").check()
    assert page.evaluate(NAMELESS) == []
    page.keyboard.press("Escape")
    visit.say("Show")
    assert page.evaluate(NAMELESS) == []
    page.get_by_label("Token probabilities").click()
    page.get_by_label("Keyboard shortcuts").click()
    assert page.evaluate(NAMELESS) == []
    page.keyboard.press("Escape")
    page.get_by_label("Rename Show").click()
    assert page.evaluate(NAMELESS) == []
    assert page.locator("main").get_by_role("region", name="Conversation", exact=True).count() == 1


def test_screen_readers_hear_sentences_and_find_their_way(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Tell"] = [
        ("text", "One sentence. Half of"),
        ("pause", ""),
        ("text", " another."),
        ("pause", ""),
        ("error", ""),
    ]
    page = visit.open(server)
    assert page.locator("body > *").first.text_content() == "Skip to the message box"
    page.get_by_role("link", name="Skip to the message box").press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    visit.say("Tell", until_answered=False)
    heard = page.get_by_role("log").locator("p")
    expect(heard).to_have_text(["Answering", "One sentence."])
    expect(page.get_by_role("article", name="Answer")).to_have_attribute("aria-busy", "true")
    server.worker.go_on()
    expect(page.locator(".answer")).to_contain_text("another.")
    server.worker.go_on()
    expect(heard).to_have_text(["Answering", "One sentence.", "Half of another."])
    expect(page.get_by_role("article", name="Answer")).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("alert")).to_contain_text("The server failed")
    assert page.locator("#announcer").get_attribute("aria-live") == "polite"
    order = page.evaluate(
        """() => ["#new-chat", "#search", "#conversations", "#title", "#thread", "#input", "#send"]
            .map((name) => document.querySelector(name))
            .every((node, i, all) => i === 0 || all[i - 1].compareDocumentPosition(node) & 4)"""
    )
    assert order, "the order of the page is the order of what is read"
    assert page.evaluate("[...document.querySelectorAll('[tabindex]')].every((node) => node.tabIndex <= 0)")
