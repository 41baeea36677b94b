"""Takes the pictures of docs/images from a real installation: `make screenshots`.

Orders that end in every way are published to `snorri dev` with the sample sagas, and what a person
sees is photographed. A picture over ``BYTES_MAX`` fails: pages of documents load with a README.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from msgspec import Struct
from playwright.sync_api import FloatRect, Page, sync_playwright

from tests.browser.site import Site
from tests.browser_setup import HELP, chromium_path

IMAGES = Path(__file__).parents[1] / "docs" / "images"
BYTES_MAX = 90_000
WIDTH, HEIGHT = 1100, 560
SQL = (
    "SELECT cause_type, count(*) AS times, quantile_cont(since_previous_ms, 0.5) AS p50_ms"
    " FROM transitions WHERE since_previous_ms IS NOT NULL GROUP BY cause_type ORDER BY times DESC"
)


class Picture(Struct, frozen=True):
    """A page to take: its file, its address, and how it is looked at."""

    name: str
    address: str
    scheme: str = "light"
    find: str = ""
    cut: tuple[int, int] = (0, HEIGHT)  # from which line to which


PICTURES = (
    Picture("overview", "/"),
    Picture("instance", "/instances/CheckoutSaga/o-2002?version=3&view=graph"),
    Picture("instance-dark", "/instances/CheckoutSaga/o-2002?view=sequence", "dark"),
    Picture("compensate", "/instances/CheckoutSaga/o-1001/act/compensate", cut=(78, HEIGHT)),
    Picture("sql", f"/sql?{urlencode({'sql': SQL})}", cut=(0, 440)),
    Picture("find", "/instances", find="o-20", cut=(0, 400)),
)


def main() -> None:
    """Write all of them."""
    executable = chromium_path()
    if executable is None:
        raise SystemExit(HELP)
    IMAGES.mkdir(exist_ok=True)
    with _installation() as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(
            base_url=site.url, viewport={"width": WIDTH, "height": HEIGHT}, timezone_id="UTC"
        )
        for picture in PICTURES:
            _take(page, picture)
        browser.close()


@contextmanager
def _installation() -> Iterator[Site]:
    """An installation in which something has gone well, and something has not."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        try:
            for number in range(24):
                site.order(key=f"o-{1001 + number}")
            ends = {"decline": "o-2001", "no-stock": "o-2002", "no-carrier": "o-2003"}
            for simulate, key in ends.items():
                site.order(key=key, simulate=simulate)
            site.order(key="o-2004", simulate="slow")
            for key in ends.values():
                site.until(key, "cancelled")
            site.until("o-1024", "completed")
            yield site
        finally:
            site.close()


def _take(page: Page, picture: Picture) -> None:
    page.emulate_media(color_scheme=picture.scheme)  # type: ignore[arg-type]  # one of two words
    page.goto(picture.address)
    page.get_by_role("heading", level=1).wait_for()
    if picture.name == "compensate":
        page.get_by_role("checkbox", name="RefundPayment").check()
        page.get_by_label("Reason").fill("the customer sent it back")
        page.get_by_role("button", name="Preview").click()
        page.get_by_role("button", name="Compensate now").wait_for()
    if picture.find:
        page.keyboard.press("Control+k")
        page.keyboard.type(picture.find)
        page.get_by_role("option", name=f"{picture.find}0").first.wait_for()
    top, end = picture.cut
    clip = FloatRect(x=0, y=top, width=WIDTH, height=end - top)
    data = page.screenshot(animations="disabled", caret="hide", clip=clip)
    print(f"{picture.name}.png {len(data) // 1000} kB")
    if len(data) > BYTES_MAX:
        raise SystemExit(f"{picture.name}.png has {len(data)} bytes, {BYTES_MAX} are allowed")
    (IMAGES / f"{picture.name}.png").write_bytes(data)


if __name__ == "__main__":
    main()
