"""What the browser keeps: reload, search, export and import, damaged and full stores, several tabs."""

import json
import time
from pathlib import Path

import pytest


def test_reload_keeps_conversations_settings_and_draft(page_server, visit, expect):
    server = page_server()
    page = visit.open(server)
    visit.say("Remember me")
    page.get_by_label("New conversation").or_(page.get_by_role("button", name="New conversation")).first.click()
    visit.say("Me too")
    page.get_by_label("Message", exact=True).fill("half a thou")
    visit.reload()
    expect(page.locator(".user .said")).to_have_text("Me too")
    expect(page.get_by_label("Message", exact=True)).to_have_value("half a thou")
    page.get_by_role("button", name="Remember me", exact=True).click()
    expect(page.locator(".answer .parts")).to_have_text("You said: Remember me")


def test_search_rename_delete(page_server, visit, expect):
    server = page_server()
    server.worker.answers["One"] = [("text", "A miller and his donkey")]
    page = visit.open(server)
    for text in ("One", "Two", "Three"):
        page.keyboard.press("Control+Shift+O")
        visit.say(text)
    titles = page.locator(".conversation-title")
    expect(titles).to_have_text(["Three", "Two", "One"])
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search conversations")).to_be_focused()
    page.keyboard.type("DONKEY")
    expect(titles).to_have_text(["One"])
    expect(page.locator(".hit")).to_contain_text("his donkey")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("One")
    page.get_by_label("Rename One").click()
    page.get_by_label("New title").fill("The miller")
    page.keyboard.press("Enter")
    expect(page.locator("#title")).to_have_text("The miller")
    page.get_by_label("Search conversations").fill("")
    page.get_by_role("button", name="Two", exact=True).hover()
    page.get_by_label("Delete Two").click()
    expect(titles).to_have_text(["Three", "The miller"])
    page.get_by_role("button", name="Undo").click()
    expect(titles).to_have_count(3)
    visit.reload()
    expect(titles).to_have_count(3)
    page.get_by_label("Search conversations").fill("nowhere")
    expect(page.locator("#conversations")).to_contain_text("No conversation says that")


def test_export_clear_import_is_a_round_trip(page_server, visit, tmp_path, expect):
    server = page_server()
    server.worker.answers["14 * 3?"] = [("python", "14 * 3"), ("python_output", "42"), ("text", "It is 42.")]
    page = visit.open(server)
    visit.say("14 * 3?")
    page.keyboard.press("Control+Shift+O")
    visit.say("Two\nlines ü 🙂")
    with page.expect_download() as download:
        page.get_by_label("Export all conversations").click()
    file = tmp_path / "kept.json"
    download.value.save_as(file)
    page.keyboard.press("Control+,")
    page.get_by_role("button", name="Delete all conversations").click()
    expect(page.locator(".conversation")).to_have_count(0)
    visit.reload()
    expect(page.locator(".conversation")).to_have_count(0)
    page.locator("#import-file").set_input_files(file)
    expect(page.locator(".notice")).to_contain_text("2 conversations imported")
    expect(page.locator(".conversation-title")).to_have_text(["Two lines ü 🙂", "14 * 3?"])
    page.get_by_role("button", name="14 * 3?", exact=True).click()
    expect(page.locator(".tool samp")).to_have_text("42")
    with page.expect_download() as download:
        page.get_by_label("Export all conversations").click()
    again = json.loads(Path(download.value.path()).read_text())
    assert again["conversations"] == json.loads(file.read_text())["conversations"]
    page.locator("#import-file").set_input_files(file)
    expect(page.locator("#notices")).to_contain_text("0 conversations imported, 2 already here")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "this file is not JSON"),
        ("[]", "no conversations of nanolit"),
        ('{"format": "nanolit-conversations", "version": 9, "conversations": []}', "of version 9"),
        (
            '{"format": "nanolit-conversations", "version": 1, "conversations": '
            '[1, {"id": "x"}, {"id": "0123456789abcdef01234567", "messages": [{"role": "root"}]}]}',
            "0 conversations imported, 3 left out (conversation 1: is no object)",
        ),
    ],
)
def test_a_file_of_something_else_is_refused(page_server, visit, text, says, expect):
    page = visit.open(page_server())
    page.locator("#import-file").set_input_files(
        {"name": "x.json", "mimeType": "application/json", "buffer": text.encode()}
    )
    expect(page.locator(".notice")).to_contain_text(says)
    expect(page.locator(".conversation")).to_have_count(0)


def test_damaged_and_full_stores_do_no_harm(page_server, visit, expect):
    server = page_server()
    page = visit.open(server)
    visit.say("Whole")
    page.evaluate(
        """() => new Promise((done) => {
            localStorage.setItem("nanolit.preferences", '{"theme": 7, "temperature": "hot", "system": {}');
            const open = indexedDB.open("nanolit", 1);
            open.onsuccess = () => {
                const change = open.result.transaction("conversations", "readwrite");
                change.objectStore("conversations").put({ id: "0123456789abcdef01234567", messages: "no" });
                change.oncomplete = done;
            };
        })"""
    )
    visit.reload()
    expect(page.locator(".notice")).to_contain_text("1 kept conversation could not be read")
    expect(page.locator(".conversation-title")).to_have_text(["Whole"])
    page.evaluate(
        """() => { IDBObjectStore.prototype.put = () => { throw new DOMException("full", "QuotaExceededError"); }; }"""
    )
    visit.say("More")
    assert visit.answers()[-1] == "You said: More"
    expect(page.locator(".notice").last).to_contain_text("storage is full")


def test_without_a_store_the_page_works_until_it_is_closed(page_server, visit, expect):
    visit.page.add_init_script("""IDBFactory.prototype.open = () => { throw new DOMException("not here"); };
        Storage.prototype.getItem = Storage.prototype.setItem = () => { throw new DOMException("nor here"); };""")
    page = visit.open(page_server())
    expect(page.locator(".notice")).to_contain_text("The browser does not keep conversations here (not here)")
    visit.say("Hello")
    page.keyboard.press("Control+Shift+O")
    visit.say("Again")
    expect(page.locator(".conversation-title")).to_have_text(["Again", "Hello"])
    page.get_by_label("Theme: as the system").click()
    expect(page.get_by_label("Theme: dark")).to_be_visible()


def test_a_reload_in_the_middle_keeps_what_came(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Long"] = [("text", "word " * 20), ("pause", "")]
    page = visit.open(server)
    visit.say("Long", until_answered=False)
    expect(page.locator(".answer")).to_contain_text("word " * 20)
    until = time.monotonic() + 15
    while len(visit.kept()[0]["messages"]) < 2:
        assert time.monotonic() < until, "it is not kept before it has ended"
    visit.reload()
    expect(page.locator(".answer .parts")).to_have_text(("word " * 20).strip())
    expect(page.locator(".figures")).to_contain_text("broken off")
    expect(page.get_by_label("Message", exact=True)).to_have_value("")
    server.worker.wait_for_cancel()
