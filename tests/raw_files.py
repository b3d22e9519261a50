"""A folder of raw files as teams have them: every format, and everything that goes wrong."""

import html
import io
import itertools
import json
import zipfile
from email.message import EmailMessage
from pathlib import Path

PERSONAL = (
    "jane.roe@corp.internal",
    "+31 20 123 4567",
    "GB82 WEST 1234 5698 7654 32",
    "536-90-4399",
    "hunter2x9",
    "bob@mail.example",
    "4111 1111 1111 1111",
)
"""What stands in the files and must stand in nothing that is written."""

FOOTER = "Harbour Service Desk, every day around the clock"
SHIPS = ("reefer", "tanker", "feeder", "barge", "coaster", "trailer", "crane", "gantry", "straddle", "pilot", "tug", "lashing")


def docx_of(
    *paragraphs: tuple[str, str],
    inserted: str = "",
    deleted: str = "",
    title: str = "",
    created: str = "2024-01-01T00:00:00Z",
    footnote: str = "",
) -> bytes:
    """A Word file with these paragraphs, each behind the id of its style, and one with what somebody inserted and deleted, and a footnote."""
    main = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(
        f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{html.escape(text)}</w:t></w:r></w:p>' for style, text in paragraphs
    )
    body += f"<w:p><w:ins><w:r><w:t>{inserted}</w:t></w:r></w:ins><w:del><w:r><w:delText>{deleted}</w:delText></w:r></w:del></w:p>"
    if footnote:
        body += '<w:p><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{main}"><w:body>{body}</w:body></w:document>',
        "docProps/core.xml": '<c:coreProperties xmlns:c="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
        f"<dc:title>{title}</dc:title><dc:creator>Jane Roe</dc:creator><dcterms:created>{created}</dcterms:created></c:coreProperties>",
    }
    if footnote:
        files["word/_rels/document.xml.rels"] = (
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r2" '
            'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes" Target="footnotes.xml"/></Relationships>'
        )
        note = f'<w:footnote w:id="2"><w:p><w:r><w:t>{html.escape(footnote)}</w:t></w:r></w:p></w:footnote>'
        files["word/footnotes.xml"] = f'<w:footnotes xmlns:w="{main}">{note}</w:footnotes>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return out.getvalue()


def pdf_of(*pages: str, sizes: tuple[int, ...] = ()) -> bytes:
    """A PDF file with a page for each text, its lines one below the other, in letters of these sizes; a blank text is a page without any."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for page in pages:
        lines = itertools.zip_longest(page.splitlines(), sizes[: len(page.splitlines())], fillvalue=11)
        shown = "".join(f"/F1 {size} Tf ({line}) Tj 0 -{14 if size == 11 else 2 * size} Td " for line, size in lines)
        stream = f"BT 50 800 Td {shown}ET" if page else ""
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        kids.append(len(objects) + 1)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 850] /Contents {len(objects)} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        )
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] >>"
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + end.encode()


def locked(pdf: bytes, password: str) -> bytes:
    """The file behind a password."""
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf)))
    writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


PAGE = """<html><head><title>How demurrage is paid</title><meta property="article:published_time" content="2023-05-06T10:00:00Z">
<meta name="author" content="Jane Roe"></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/x">All products</a></li></ul></nav>
<div class="cookie-banner">We use cookies to improve your experience. Accept all</div>
<main><article><h1>How demurrage is paid</h1>
<p>Demurrage is due when a container stays longer than its free days on the terminal, and it is charged for each day.</p>
<h2>By bank transfer</h2><p>Give the invoice number and the container number, and the money is booked on the next working day.</p></article></main>
<footer>Copyright Harbour Ltd, all rights reserved, imprint, privacy</footer></body></html>"""


def ticket_rows() -> str:
    """A CSV export; the first ticket holds personal data, in title, body and comment."""
    rows = ["id,subject,description,comments,created_at"]
    rows.append(
        '1,"Refund for jane.roe@corp.internal","Please call me at +31 20 123 4567, the account is IBAN GB82 WEST 1234 5698 7654 32 of my firm.",'
        '"My SSN is 536-90-4399 and the password is hunter2x9, says bob@mail.example",2024-01-05T10:00:00Z'
    )
    for number, ship in enumerate(SHIPS, start=2):
        text = f"The {ship} number {number} waits at berth {number * 7} since the {ship} gate system lost its booking for the {ship} visit."
        rows.append(f'{number},"{ship} waits","{text}\n{FOOTER}","Solved: the {ship} booking was keyed anew",2024-02-{number:02}T08:00:00Z')
    return "\n".join(rows) + "\n"


def mail() -> bytes:
    """A message, whose sender is never read."""
    message = EmailMessage()
    message["From"] = "Jane Roe <jane.roe@corp.internal>"
    message["To"] = "bob@mail.example"
    message["Subject"] = "The lashing gang of the night shift"
    message["Date"] = "Tue, 05 Mar 2024 09:00:00 +0100"
    message["Message-ID"] = "<abc.jane.roe@corp.internal>"
    message.set_content("The lashing gang came an hour late, so please move the break. Card 4111 1111 1111 1111 was charged twice.\n")
    return message.as_bytes()


GUIDE = (
    "A vessel is planned bay by bay. The planner looks at the weights first, then at the ports of discharge, and last at the reefers, "
    "which need a plug. Dangerous goods are kept apart as the tables of segregation say. When the crane split is drawn, the hatches that "
    "take longest begin first, so that all cranes end at nearly the same hour and the ship can leave on her tide."
)


def raw_files(folder: Path) -> Path:
    """Make the folder."""
    files: dict[str, bytes] = {
        "guides/planning.md": f"---\ntitle: Planning a vessel\ndate: 2023-01-02\n---\n\n# Planning a vessel\n\n## Weights\n\n{GUIDE}\n".encode(),
        "guides/planning-copy.txt": f"Planning a vessel\n\n{GUIDE} This was printed for the office.".encode(),
        "guides/grüße.txt": "Die Brücke über den Fluss wird für größere Schiffe geöffnet, und die Züge müssen so lange warten.".encode(
            "cp1252"
        ),
        "guides/jane.roe@corp.internal/notes.md": b"# Notes of a shift\n\nThe gate was closed for an hour because the scanner had failed.\n",
        "web/demurrage.html": PAGE.encode(),
        "pdf/tides.pdf": pdf_of("Tide tables of the port", "High water is at six in the morning\nand the pilots come on board at five"),
        "pdf/broken.pdf": b"%PDF-1.7\nthis is not a PDF at all",
        "pdf/locked.pdf": locked(pdf_of("A secret page that nobody may read without it"), "let me in"),
        "pdf/scanned.pdf": pdf_of("", ""),
        "tickets/desk.csv": ticket_rows().encode(),
        "tickets/jira.json": json.dumps(
            {
                "issues": [
                    {
                        "key": "OPS-1",
                        "fields": {
                            "summary": "Crane stops at noon",
                            "description": "<p>The third crane stops each noon<br>because of the heat</p>",
                            "created": "2024-03-01T00:00:00Z",
                            "comment": {"comments": [{"author": "Jane Roe", "body": "A fan was built in, since then it runs"}]},
                        },
                    }
                ]
            }
        ).encode(),
        "mail/night.eml": mail(),
        "empty.md": b"",
        "letter.doc": b"\xd0\xcf\x11\xe0",
        "rules.docx": docx_of(
            ("Heading1", "Rules of the rail yard"), ("", "Wagons are shunted at night, when no train with people is due.")
        ),
        "noise.txt": bytes(range(256)) * 4,
        ".hidden/secret.txt": b"nobody looks here",
        "short.txt": b"two words",
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "link.md").symlink_to(folder / "guides" / "planning.md")
    return folder
