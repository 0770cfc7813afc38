"""The server in trouble: away, full, refusing, breaking off; and one that wants its key."""

import re


def test_an_absent_server_is_told_and_awaited(page_server, visit, expect):
    server = page_server()
    visit.expected = "ERR_CONNECTION_REFUSED"
    page = visit.open(server)
    server.stop()
    visit.say("Are you there?", until_answered=False)
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The server does not answer")
    expect(problem).to_contain_text("Your message is kept")
    expect(page.locator("#banner")).to_be_visible()
    server.start()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator(".notice")).to_contain_text("The server is back")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".answer .parts")).to_have_text("You said: Are you there?")
    assert visit.users() == ["Are you there?"]
    expect(problem).to_have_count(0)


def test_a_full_server_says_when_to_come_back(page_server, visit, expect):
    server = page_server()
    visit.expected = "429"
    page = visit.open(server)
    server.worker.full_for_s = 2
    visit.say("Hello", until_answered=False)
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The server is busy")
    button = problem.get_by_role("button")
    expect(button).to_have_text(re.compile(r"Try again in [12] s"))
    expect(button).to_be_disabled()
    server.worker.full_for_s = None
    expect(button).to_be_enabled()
    button.click()
    expect(page.locator(".answer .parts")).to_have_text("You said: Hello")


def test_a_server_with_a_key_asks_for_it(page_server, visit, expect):
    server = page_server(api_key="sesame")
    visit.expected = "401"
    page = visit.page
    page.goto(server.url)
    field = page.get_by_label("Key", exact=True)
    field.fill("wrong")
    page.keyboard.press("Enter")
    expect(field).to_have_value("")  # asked anew
    field.fill("sesame")
    page.keyboard.press("Enter")
    expect(page.locator("#model-name")).to_be_visible()
    visit.say("Hello")
    assert visit.answers() == ["You said: Hello"]
    assert "sesame" not in page.evaluate("JSON.stringify(localStorage)")
    visit.reload()
    expect(page.locator("#model-name")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)  # this tab knows it
    page.keyboard.press("Control+,")
    page.get_by_role("button", name="Change or forget the key").click()
    page.get_by_role("button", name="Forget the key").click()
    visit.say("Once more", until_answered=False)
    field.fill("sesame")
    page.keyboard.press("Enter")
    expect(page.locator(".answer .parts").last).to_have_text("You said: Once more")


def test_a_refusal_shows_the_servers_words(page_server, visit, expect):
    server = page_server(block_size=60)
    visit.expected = "400"
    page = visit.open(server)
    page.keyboard.press("Control+,")
    page.get_by_label("Forget the oldest messages").uncheck()
    page.keyboard.press("Escape")
    visit.say("word " * 40, until_answered=False)
    expect(page.get_by_role("alert")).to_contain_text("The server did not accept this")
    expect(page.get_by_role("alert")).to_contain_text("60")  # the context's length, in the server's words
    page.get_by_label("Message", exact=True).fill("x" * 8001)
    expect(page.get_by_role("alert").last).to_contain_text("1 characters too many")
    expect(page.get_by_label("Send", exact=True)).to_be_disabled()


def test_a_message_that_was_too_long_does_not_burden_the_next(page_server, visit, expect):
    server = page_server(block_size=60)
    visit.expected = "400"
    page = visit.open(server)
    page.keyboard.press("Control+,")
    page.get_by_label("Forget the oldest messages").uncheck()
    page.keyboard.press("Escape")
    visit.say("word " * 40, until_answered=False)
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("The server did not accept this")  # it is still what it was
    visit.say("Short")
    assert visit.answers() == ["You said: Short"]
    visit.reload()
    visit.say("Shorter")  # and so it is in the browser's store
    assert visit.answers()[-1] == "You said: Shorter"


def test_a_broken_answer_keeps_its_part(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Break"] = [("text", "So far so good"), ("pause", ""), ("error", "")]
    page = visit.open(server)
    visit.say("Break", until_answered=False)
    expect(page.locator(".answer")).to_contain_text("So far so good")
    server.worker.go_on()
    expect(page.get_by_role("alert")).to_contain_text("What came is kept")
    assert visit.answers() == ["So far so good"]


def test_a_connection_that_breaks_in_the_middle_loses_nothing(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Break"] = [("text", "So far so good"), ("pause", ""), ("text", " and on")]
    visit.expected = "net::ERR"
    page = visit.open(server)
    visit.say("Break", until_answered=False)
    expect(page.locator(".answer")).to_contain_text("So far so good")
    page.get_by_label("Message", exact=True).fill("next in mind")
    page.keyboard.press("Enter")  # one answer at a time: it waits in the box
    server.break_connections()
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("The answer broke off")
    expect(page.locator(".figures")).to_contain_text("broken off")
    expect(page.get_by_label("Message", exact=True)).to_have_value("next in mind")
    visit.reload()
    expect(page.locator(".answer .parts")).to_have_text("So far so good")
    expect(page.get_by_label("Message", exact=True)).to_have_value("next in mind")
    server.worker.go_on()
    page.get_by_label("Regenerate this answer").click()
    expect(page.locator(".answer .parts")).to_have_text("So far so good and on")


def test_a_server_that_stops_in_the_middle_says_so(page_server, visit, expect):
    server = page_server()
    server.worker.answers["Stop"] = [("text", "Half"), ("pause", "")]
    visit.expected = "net::ERR"
    page = visit.open(server)
    visit.say("Stop", until_answered=False)
    expect(page.locator(".answer")).to_contain_text("Half")
    server.stop()
    expect(page.get_by_role("alert")).to_contain_text("The answer broke off")
    expect(page.get_by_role("alert")).to_contain_text("the server is stopping")
    expect(page.locator("#banner")).to_be_visible()
    server.start()
    expect(page.locator("#banner")).to_be_hidden()


def test_a_server_about_to_stop_takes_no_more(page_server, visit, expect):
    server = page_server()
    visit.expected = "503"
    page = visit.open(server)
    server.server.going.is_draining = True
    visit.say("Hello", until_answered=False)
    expect(page.get_by_role("alert")).to_contain_text("the server is stopping; ask again later. Your message is kept.")
    expect(page.get_by_role("alert").get_by_role("button")).to_be_disabled()
    visit.reload()
    expect(page.locator(".user .said")).to_have_text("Hello")
    server.server.going.is_draining = False
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer .parts")).to_have_text("You said: Hello")


def test_a_page_that_finds_no_model_sends_when_there_is_one(page_server, visit, expect):
    server = page_server()
    visit.expected = "net::ERR"
    visit.page.route("**/v1/models", lambda route: route.abort())
    visit.page.route("**/health", lambda route: route.abort())
    page = visit.page
    page.goto(server.url)
    expect(page.locator("#banner")).to_be_visible()
    page.get_by_label("Message", exact=True).fill("Early")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_have_value("Early")
    page.unroute_all()
    expect(page.locator("#banner")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator(".answer .parts")).to_have_text("You said: Early")
