#!/usr/bin/env python3
"""A picture of one chart of a dashboard page, for documents. Needs chromium and chromium-driver.

    prune dashboard RUN.json -o page.html
    bench/page_picture.py page.html speed-up.png --choose speedup-n=1 --choose speedup-type=bf16

--choose ID=VALUE sets a control of the page first. --chart is speedup, roofline or history.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "test" / "apps"))
import browser  # noqa: E402  (the tests' driver)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--chart", choices=("speedup", "roofline", "history"), default="speedup")
    parser.add_argument("--choose", action="append", default=[], metavar="ID=VALUE")
    parser.add_argument("--width", type=int, default=900)
    arguments = parser.parse_args()
    window = browser.Browser(width=arguments.width, height=900)
    try:
        window.open(arguments.page.resolve())
        for choice in arguments.choose:
            control, value = choice.split("=", 1)
            window.choose(f"#{control}", value)
        window.run("document.activeElement.blur()")  # no ring of the last control in the picture
        arguments.picture.write_bytes(window.picture_of(f"#{arguments.chart}-chart"))
    finally:
        window.close()


if __name__ == "__main__":
    main()
