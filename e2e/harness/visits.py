"""How people get from one page to the next."""


def open_shared(page, url: str):
    """Opens a page of an open Shared Connection, past the notice that a browser is shown first, and gives the response."""
    page.goto(url)
    with page.expect_navigation(wait_until="domcontentloaded") as navigation:
        page.click("button:has-text('Go on to the printer')")
    return navigation.value
