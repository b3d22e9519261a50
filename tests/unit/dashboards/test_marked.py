"""Answers are readable, and nothing in them is active: Markdown's marks are shown as what they mean, all else as it is."""

import html
import re
import time

import lxml.html
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poisoned import PAYLOAD, XSS
from ragtrial_board.marked import marked

ELEMENTS = {
    "div",
    "p",
    "h3",
    "ul",
    "ol",
    "li",
    "blockquote",
    "pre",
    "code",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "strong",
    "em",
    "hr",
}
TAG = re.compile(r'<(/?[a-z][a-z0-9]*)((?: (?:class="(?:rt-plain ?(?:rt-marked)? ?|rt-language)"|dir="auto"|value="\d{1,9}"))*)>')
MARKS = st.sampled_from(
    ["**", "*", "_", "__", "`", "```", "\n", "\n\n", "- ", "1. ", "7) ", "> ", "# ", "---", "|", "|-|-|\n", "![", "[", "](", ")", "<", ">", "&", "&lt;",
    "&#60;", '"', "'", "\\", "javascript:alert(1)", "https://evil.example/x.png", "www.evil.example", "a@evil.example", "<img src=x onerror=y>",
    "[a]: https://evil.example 'x'", "\x00", "\u202e", "مرحبا", "a", " ", "    ", "\t", "\r\n", *XSS]
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("It is **bold**, *so* and `code`.", "It is <strong>bold</strong>, <em>so</em> and <code>code</code>."),
        ("- item\n- other", '<ul dir="auto"><li dir="auto">item</li><li dir="auto">other</li></ul>'),
        ("2. two\n4. four", '<ol dir="auto"><li value="2" dir="auto">two</li><li value="4" dir="auto">four</li></ol>'),
        ("# Rules\nfirst line\nsecond line", '<h3 dir="auto">Rules</h3><p dir="auto">first line\nsecond line</p>'),
        ("as it says [1][2], and [3]", "as it says [1][2], and [3]"),
        ("```sh\nls <x>\n```", "<pre><code>ls &lt;x&gt;\n</code></pre>"),
        ("> quoted", '<blockquote dir="auto"><p dir="auto">quoted</p></blockquote>'),
        ("|a|b|\n|:-|-:|\n|1|2|", '<th dir="auto">a</th><th dir="auto">b</th>'),
        ("call __init__ of snake_case at C:\\_x or \\\\server", "call __init__ of snake_case at C:\\_x or \\\\server"),
        ("2 * 3 * 4 < 5 & 6", "2 * 3 * 4 &lt; 5 &amp; 6"),
    ],
)
def test_a_mark_is_shown_as_what_it_means(text: str, shown: str) -> None:
    assert shown in marked(text)


@pytest.mark.parametrize(
    "text",
    [
        "![pixel](https://evil.example/p.png)",
        "[![a](https://evil.example/p.png)](javascript:alert(1))",
        "[sign in](javascript:alert(1))",
        "[sign in](<java\nscript:alert(1)> 'x')",
        "<https://evil.example> www.evil.example https://evil.example",
        "[a][b]\n\n[b]: https://evil.example 'x'",
        "<b onmouseover=alert(1)>x</b> <!-- x --> <script>alert(1)</script>",
        "**<img src=x onerror=alert(1)>**",
        "`<img src=x onerror=alert(1)>`",
        "```<img src=x onerror=alert(1)>\n<img src=x onerror=alert(1)>\n```",
        "&lt;script&gt;&#x3C;img src=x&#62;",
        '|<img src=x>|"onload=|\n|:--|--:|\n|<svg/onload=x>|b|',
    ],
)
def test_links_pictures_and_html_stay_the_text_that_they_are(text: str) -> None:
    made = marked(text)
    assert nothing_active(made)
    assert "<a" not in made
    assert all(part in html.unescape(re.sub(TAG, "", made)) for part in re.findall(r"[^|`*\n]{4,}", text))


def nothing_active(made: str) -> bool:
    """By what is written, and by what a parser that mends as browsers do makes of it."""
    assert not re.search(r"[<>]", re.sub(TAG, "", made)), made
    assert {name.lstrip("/") for name, _ in TAG.findall(made)} <= ELEMENTS
    tree = lxml.html.fragment_fromstring(made.replace("\x00", ""))
    found = [each for each in tree.iter() if isinstance(each.tag, str)]
    assert {each.tag for each in found} <= ELEMENTS, made
    return all(set(each.attrib) <= {"class", "dir", "value"} for each in found)


@given(st.lists(MARKS, max_size=25).map("".join))
@example(PAYLOAD)
@example(f"- {PAYLOAD}\n\n1. **{PAYLOAD}**\n\n`{PAYLOAD}`\n\n> {PAYLOAD}")
@example(">" * 60 + " deep")
@example("- " * 60 + "deep")
def test_whatever_is_written_is_inert_and_no_letter_of_it_is_lost(text: str) -> None:
    made = marked(text)
    assert nothing_active(made)
    shown = html.unescape(re.sub(TAG, "", made))
    assert [letter for letter in shown if letter.isalpha()] == [letter for letter in text if letter.isalpha()]


@pytest.mark.parametrize("part", ["*a ", "**a_", "`", "``a`", "> ", "- ", "|", "|-\n", "[", "![a](", "<", "1. \n", "# ", "_*`", "a**b**"])
def test_an_odd_text_does_not_keep_the_page_busy(part: str) -> None:
    before = time.process_time()
    marked(part * (20_000 // len(part)))
    assert time.process_time() - before < 5
    assert marked("**b** " * 4000).startswith('<div class="rt-plain " dir="auto">**b**')
