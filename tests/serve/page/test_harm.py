"""Texts that would do harm if they became markup, and texts made to take long."""

import json
import re
from pathlib import Path

import nanolit.serve

UI = Path(nanolit.serve.__file__).parent / "ui"
ATTACKS = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<svg/onload=alert(1)>",
    '"><iframe srcdoc="<script>parent.pwned=1</script>">',
    "[click](javascript:window.pwned=1)",
    "[click](  JavaScript:alert(1))",
    "[click](java\tscript:alert(1))",
    "[click](data:text/html,<script>alert(1)</script>)",
    "[click](//evil.example/x)",
    '[click](https://good.example/" onclick=alert(1) x=")',
    "![alt](https://evil.example/pixel.png)",
    "<javascript:alert(1)>",
    "<a href='https://evil.example' onmouseover='alert(1)'>x</a>",
    "<form action='https://evil.example'><button>ok</button></form>",
    "<style>* { display: none }</style><base href='https://evil.example/'><meta http-equiv=refresh content=0>",
    "```<img/src=x/onerror=alert(1)>\n<script>window.pwned = 1</script>\n```",
    "```html\n<img src=x onerror=alert(1)>\n```",
    "| <img src=x onerror=alert(1)> | b |\n| --- | --- |\n| <script>alert(1)</script> | [x](vbscript:1) |",
    "# <img src=x onerror=alert(1)>\n> <svg onload=alert(1)>\n- <script>alert(1)</script>",
    "__proto__ constructor {{7*7}} ${alert(1)} <|assistant_end|>",
]


def assert_harmless(page) -> None:
    found = page.evaluate(
        """() => ({
            pwned: "pwned" in window,
            scripts: document.querySelectorAll("script").length,
            foreign: [...document.querySelectorAll(
                "body script, img, iframe, object, embed, style, base, meta[http-equiv], #thread form, svg[onload]"
            )].map((node) => node.outerHTML),
            handlers: [...document.querySelectorAll("*")].filter((node) =>
                [...node.attributes].some(({ name, value }) => name.startsWith("on") || name === "srcdoc" ||
                    name === "style" && !/^(height|left|top|width|--surprise)/.test(value))
            ).map((node) => node.outerHTML),
            links: [...document.querySelectorAll("a")].map((node) => node.getAttribute("href")),
        })"""
    )
    assert (found["pwned"], found["scripts"], found["foreign"], found["handlers"]) == (False, 2, [], [])
    assert all(re.match(r"https?://|mailto:|#input$", link) for link in found["links"]), found["links"]


def test_nothing_that_is_said_becomes_markup(page_server, visit, expect):
    everything = "\n\n".join(ATTACKS)
    server = page_server(names=("<img src=x onerror=alert(1)>", "b"))
    page = visit.open(server)
    for attack in ATTACKS:
        worker = server.workers[0]
        worker.answers[attack] = [("text", attack), ("python", attack), ("python_output", attack), ("text", attack)]
    worker.answers["all"] = [("text", everything)]
    page.keyboard.press("Control+,")
    page.get_by_role("textbox", name="System prompt").fill(everything)
    page.keyboard.press("Escape")
    for attack in (ATTACKS[0], ATTACKS[1], ATTACKS[4], ATTACKS[15], "all"):
        page.keyboard.press("Control+Shift+O")
        visit.say(attack)
        assert_harmless(page)
    assert "<img src=x onerror='window.pwned = 1'>" in visit.answers()[0]
    page.keyboard.press("Control+k")
    page.keyboard.type("<img")
    expect(page.locator("mark").first).to_have_text("<img")
    for link in page.locator("#thread a").all():
        assert "evil.example/x" not in link.get_attribute("href")
    assert_harmless(page)


def test_the_policy_allows_nothing_but_the_pages_own_files(page_server, visit):
    server = page_server()
    visit.open(server)
    policy = visit.page.goto(server.url).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], rules["script-src"], rules["style-src"]) == ("'none'", "'self'", "'self'")
    assert "unsafe" not in policy


def test_an_imported_file_is_only_text(page_server, visit, expect):
    page, token = visit.open(page_server()), {"logprob": -1}
    conversations = [
        {
            "id": f"{i:024x}",
            "title": attack,
            "named": True,
            "created": 1,
            "updated": 2 + i,
            "system": attack,
            "__proto__": {"polluted": True},
            "onclick": "alert(1)",
            "messages": [
                {"role": "user", "text": attack, "html": attack},
                {
                    "role": "assistant",
                    "model": attack,
                    "finish": attack,
                    "figures": {"n_tokens": attack, "first_s": 1e400},
                    "parts": [
                        {"type": "text", "text": attack, "tokens": [token | {"text": attack, "top": [[attack, -1]]}]},
                        {"type": "python", "text": attack},
                        {"type": "python_output", "text": attack},
                    ],
                },
            ],
        }
        for i, attack in enumerate(ATTACKS)
    ]  # fmt: skip
    file = {"format": "nanolit-conversations", "version": 1, "conversations": conversations}
    text = json.dumps(file).replace("Infinity", "1e999")
    page.locator("#import-file").set_input_files(
        {"name": "x.json", "mimeType": "application/json", "buffer": text.encode()}
    )
    expect(page.locator(".notice")).to_contain_text(f"{len(ATTACKS)} conversations imported")
    for entry in page.locator(".conversation-open").all():
        entry.click()
        expect(page.locator(".answer")).to_have_count(1)
        assert_harmless(page)
        page.get_by_label("Token probabilities").click()
        page.locator(".token").hover()
        assert_harmless(page)
    assert page.evaluate("({}).polluted") is None


def test_text_made_to_take_long_does_not(page_server, visit):
    page = visit.open(page_server())
    took_ms = page.evaluate(
        """async () => {
            const { MarkdownView } = await import("./ui/markdown.js");
            const texts = ["*", "_", "**a ", "`", "``a`", "[", "[a](", "![",
                "> ", "- ", "1. ", "|", "~~", "<", "# ", "http://", "\\\\", "*a **b ", "    - ", "a_b_", "***a"]
            const took = {};
            for (const text of texts) {
                const start = performance.now();
                new MarkdownView().update(text.repeat(30000 / text.length));
                new MarkdownView().update((text + "\\n").repeat(10000 / text.length));
                took[text] = performance.now() - start;
            }
            return took;
        }"""
    )
    assert max(took_ms.values()) < 1500, took_ms


def test_the_sources_ask_nobody_else_and_write_no_html():
    for path in sorted(UI.iterdir()):
        text = path.read_text()
        outside = set(re.findall(r"https?://[\w.-]+", text)) - {"http://www.w3.org"}  # the name of SVG, never fetched
        assert not outside, path.name
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "TODO"):
            assert word not in text, f"{path.name} holds {word}"
        assert len(text.splitlines()) <= 400, f"{path.name}: one file is one idea"
    html = (UI / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script>", html), "the content security policy forbids it"
