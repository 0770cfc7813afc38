"""What is sent: sampling, system prompt, model, what keeps to the limits; and token probabilities."""

import re

STORY = "Hazel lived in the yellow cottage. To visit Tomas she had to cross a narrow bridge. It was gone!"


def test_settings_and_system_prompt_are_sent(page_server, visit, expect):
    server = page_server()
    page = visit.open(server)
    visit.say("/temperature 0.5", until_answered=False)
    expect(page.locator("#hint")).to_have_text("Temperature: 0.5")
    visit.say("/temperature hot", until_answered=False)
    expect(page.locator("#hint")).to_contain_text("allowed are numbers from 0 to 2")
    page.keyboard.press("Control+,")
    for name, value in (("Top-k", "40"), ("Top-p", "0.9"), ("Most tokens", "17"), ("Seed", "7")):
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_label("Seed", exact=True).fill("-1")
    expect(page.locator("#seed-hint")).to_contain_text("allowed are whole numbers from 0")
    page.get_by_role("textbox", name="System prompt").fill("Speak like a baker.")
    page.keyboard.press("Escape")
    visit.say(" /slash <|assistant_start|>")
    params = server.worker.asked[0].params
    assert (params.temperature, params.top_k, params.top_p) == (0.5, 40, 0.9)
    assert (params.max_new_tokens, params.seed) == (17, 7), "a wrong value is not taken"
    assert "Speak like a baker.\n\n" in server.worker.prompt(0)
    assert list(server.worker.asked[0].prompt).count(server.worker.tokenizer.specials["<|assistant_start|>"]) == 1
    page.keyboard.press("Control+,")
    page.get_by_role("button", name="Use the server's settings").click()
    page.keyboard.press("Escape")
    visit.say("Again")
    assert server.worker.asked[1].params.seed is None


def test_of_several_models_one_is_chosen(page_server, visit, expect):
    server = page_server(names=("village", "town"))
    page = visit.open(server)
    page.get_by_label("Model", exact=True).select_option("town")
    visit.say("Hello")
    assert [len(worker.asked) for worker in server.workers] == [0, 1]
    visit.reload()
    expect(page.get_by_label("Model", exact=True)).to_have_value("town")


def test_token_probabilities_on_hover_and_by_keyboard(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Story"] = [("text", STORY)]
    page = visit.open(server)
    page.keyboard.press("Control+,")
    page.get_by_label("Token probabilities").check()
    page.keyboard.press("Escape")
    visit.say("Story")
    tokens = page.locator(".token")
    assert "".join(tokens.all_text_contents()) == STORY
    assert len(set(tokens.evaluate_all("all => all.map(token => getComputedStyle(token).backgroundColor)"))) > 2
    tokens.nth(1).hover()
    card = page.get_by_role("tooltip")
    expect(card).to_contain_text(re.compile(r"·lived\s+40.0 %"))
    assert card.locator("tr").count() == 5
    tokens.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(tokens.nth(1)).to_be_focused()
    expect(card).to_be_visible()
    page.locator(".answer").get_by_label("Token probabilities").click()
    expect(tokens).to_have_count(0)
    assert visit.answers() == [STORY]


def test_what_is_sent_keeps_to_the_servers_limits(page_server, visit):
    page = visit.open(page_server())
    sent = page.evaluate(
        """async () => {
            const { toMessages } = await import("./ui/conversation.js");
            const user = (text) => ({ role: "user", text });
            const answer = (...parts) => ({ role: "assistant", parts: parts.map(([type, text]) => ({ type, text })) });
            const limits = { max_messages: 4, max_message_chars: 20, max_total_chars: 50 };
            const of = (messages, mayForget = true) => toMessages({ system: "", messages }, limits, mayForget);
            const empty = [["text", ""], ["python", " "], ["python_output", "3"]];
            const call = answer(...empty, ["python", "1"], ["python_output", ""]);
            return {
                unanswered: of([user("a"), answer(["text", "  "]), user("b")]),
                tools: of([user("a"), call, user("b")]),
                many: of([user("a"), answer(["text", "b"]), user("c"), answer(["text", "d"]), user("e")]),
                wide: of([user("x".repeat(19)), answer(["text", "y".repeat(19)]), user("z".repeat(19))]),
                long: of([user("a"), answer(["text", "🙂".repeat(40) + "end"]), user("b")]),
                kept: of([user("a"), answer(["text", "y".repeat(90)]), user("b")], false),
            };
        }"""
    )
    text = {name: [message["content"] for message in found["messages"]] for name, found in sent.items()}
    assert text["unanswered"] == ["a\n\nb"]
    assert sent["tools"]["messages"][1]["parts"] == [
        {"type": "python", "text": "1"}, {"type": "python_output", "text": ""}
    ]  # fmt: skip
    assert (text["many"], sent["many"]["left_out"]) == (["c", "d", "e"], 2)
    assert (text["wide"], sent["wide"]["left_out"]) == (["z" * 19], 2)
    assert text["long"] == ["a", "🙂" * 17 + "end", "b"]
    assert text["kept"] == ["a", "y" * 90, "b"]
