"""Texts in other encodings than UTF-8: read when they can be told, and refused when they cannot."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainers.checks import examine
from trainers.decoding import guess
from trainers.encodings import certain, readings
from trainers.reading import read_columns
from trainers.source import TaskError, open_source
from trainers.task import read_task

# Language, encodings: what customers write, in the language's own words.
TEXTS: dict[tuple[str, str], str] = {
    ("German", "cp1252 iso8859-15 latin-1 cp850 mac-roman"): """
Die Lieferung ist nicht pünktlich angekommen und der Karton war völlig zerdrückt.
Für den Preis ist das ein sehr schönes Gerät, ich würde es wieder kaufen.
Der Kundendienst hat mir schnell geholfen, vielen Dank für die Mühe!
Leider passt die Größe nicht, und die Farbe ist auf dem Bild schöner.
""",
    ("French", "cp1252 iso8859-15 latin-1 cp850 mac-roman"): """
La livraison est arrivée en retard et le colis était abîmé.
Très bon produit pour le prix, je le recommande à tous mes amis.
Le service après-vente n'a pas répondu à mes messages, je suis déçue.
C'est une bonne idée, mais la qualité des matériaux n'est pas là.
""",
    ("Spanish", "cp1252 latin-1 cp850 mac-roman"): """
El envío llegó tarde y la caja estaba dañada.
Muy buen producto por el precio, lo recomiendo a todos los que quieran algo cómodo.
¿Por qué no contestan en el teléfono? Llevo una semana llamando.
El niño está contento con el juguete, aunque la batería dura muy poco.
""",
    ("Portuguese", "cp1252 latin-1"): """
A entrega não chegou no dia prometido e a caixa estava amassada.
É um ótimo produto para o preço, com certeza vou comprar de novo.
O atendimento não respondeu às minhas mensagens, uma decepção.
""",
    ("Swedish", "cp1252 latin-1 mac-roman"): """
Paketet kom för sent och det var sönder när jag öppnade det.
Jag är mycket nöjd med köpet, och det är värt varenda krona.
Tyvärr passar inte storleken på den här jackan.
""",
    ("Finnish", "cp1252 latin-1"): """
Paketti oli myöhässä ja se oli täysin rikki, kun avasin sen.
Hyvä tuote, mutta käyttöohje ei ole kovin selvä.
Olen tyytyväinen ostokseen, ja se tuli ennen kuin pyysin.
""",
    ("Polish", "cp1250 iso8859-2 cp852"): """
Paczka przyszła za późno i była całkiem zgnieciona.
Bardzo dobry produkt za tę cenę, na pewno kupię jeszcze raz.
Niestety rozmiar się nie zgadza, a obsługa nie odpowiada na wiadomości.
""",
    ("Czech", "cp1250 iso8859-2 cp852"): """
Balík přišel pozdě a krabice byla úplně promáčknutá.
Za tu cenu je to velmi dobrý výrobek, určitě ho koupím znovu.
Bohužel velikost nesedí a na moje zprávy nikdo neodpovídá, je to škoda.
""",
    ("Hungarian", "cp1250 iso8859-2"): """
A csomag későn érkezett meg, és a doboz teljesen összetört.
Nagyon jó termék, de az ára túl magas, és nem tudom, hogy megéri-e.
Az ügyfélszolgálat nem válaszolt az üzeneteimre, csak egy hét után.
""",
    ("Turkish", "cp1254 iso8859-9"): """
Kargo çok geç geldi ve kutu tamamen ezilmişti.
Bu fiyata çok güzel bir ürün, arkadaşlarıma da önerdim.
Ne yazık ki ölçüsü uymadı, müşteri hizmetleri de bir türlü cevap vermiyor.
Çocuğum için aldım, ışığı biraz zayıf ama değer.
""",
    ("Lithuanian", "cp1257 iso8859-13"): """
Siunta atėjo per vėlai ir dėžė buvo visiškai sulankstyta.
Už tokią kainą tai yra labai geras daiktas, kad ir šiek tiek sunkus.
Deja, dydis netinka, o į mano žinutes niekas neatsako kaip reikia.
""",
    ("Russian", "cp1251 koi8-r cp866 iso8859-5"): """
Посылка пришла с опозданием, коробка была полностью смята.
Отличный товар за свою цену, но инструкция на русском не очень понятна.
Служба поддержки так и не ответила на мои письма, это очень обидно.
""",
    ("Ukrainian", "cp1251 koi8-u"): """
Посилка прийшла із запізненням, коробка була повністю зім'ята.
Чудовий товар за свою ціну, але інструкція не дуже зрозуміла для дітей.
Служба підтримки так і не відповіла на мої листи, це дуже прикро.
""",
    ("Greek", "cp1253 iso8859-7"): """
Το δέμα ήρθε πολύ αργά και το κουτί ήταν τελείως τσαλακωμένο.
Πολύ καλό προϊόν για την τιμή του, θα το αγόραζα ξανά.
Δυστυχώς το μέγεθος δεν είναι σωστό και κανείς δεν απαντά στα μηνύματα.
""",
    ("Hebrew", "cp1255"): """
החבילה הגיעה באיחור גדול והקופסה הייתה מעוכה לגמרי.
זה מוצר טוב מאוד, אם כי המחיר של המשלוח גבוה.
לצערי המידה לא מתאימה, וגם שירות הלקוחות לא ענה על ההודעות שלי.
""",
    ("Arabic", "cp1256 iso8859-6"): """
وصل الطرد متأخرا جدا وكانت العلبة تالفة من كل جانب.
هذا منتج جيد جدا مع أن السعر مرتفع، ولا أنصح به إلى من يريد الجودة.
للأسف المقاس غير مناسب ولم يرد أحد على رسائلي في هذه المدة.
""",
    ("Thai", "cp874"): """
พัสดุมาถึงช้ามากและกล่องก็บุบไปหมด
สินค้าดีมากเมื่อเทียบกับราคา จะซื้ออีกแน่นอน
ขนาดไม่ตรงกับที่สั่ง และไม่มีใครตอบข้อความเลย
""",
    ("Japanese", "cp932 euc_jp"): """
荷物の到着が遅く、箱もつぶれていました。
この値段でこの品質ならとても満足です。また買いたいと思います。
残念ながらサイズが合いませんでした。問い合わせにも返事がありません。
""",
    ("Chinese", "gb18030 gb2312"): """
包裹到得太晚了，盒子也完全压坏了。
这个价格能买到这样的东西很不错，我会再来的。
可惜尺寸不对，我发的消息也没有人回复。
""",
    ("Chinese", "cp950"): """
包裹到得太晚了，盒子也完全壓壞了。
這個價格能買到這樣的東西很不錯，我會再來的。
可惜尺寸不對，我發的訊息也沒有人回覆。
""",
    ("Korean", "cp949"): """
택배가 너무 늦게 도착했고 상자도 완전히 찌그러져 있었습니다.
이 가격에 이 정도면 정말 좋은 제품입니다. 다시 살 생각이 있어요.
아쉽게도 크기가 맞지 않고 문의를 해도 답이 없네요.
""",
    ("English", "cp1252 latin-1 iso8859-15"): """
The parcel was late and the box wasn’t even closed, which is not what I paid for.
It’s “good value” for £20 – but don’t expect too much of it… I have had better.
We met at the café on the corner, and the résumé of the talk was “the best in town”.
""",
}
# which iso8859-15 and latin-1 do not have
REPLACED = str.maketrans({"’": "'", "“": '"', "”": '"', "–": "-", "…": "..."})
CASES = [
    pytest.param(language, encoding, text, id=f"{language}-{encoding}")
    for (language, encodings), text in TEXTS.items()
    for encoding in encodings.split()
]


def rows_of(text: str) -> list[dict[str, str]]:
    return [
        {"text": line, "label": "bad good".split()[i % 2]} for i, line in enumerate(text.split("\n")[1:-1])
    ]


def csv_of(rows: list[dict[str, str]]) -> str:
    cells = (row["text"].replace('"', '""') for row in rows)
    return "text,label\n" + "".join(
        f'"{cell}",{row["label"]}\n' for cell, row in zip(cells, rows, strict=True)
    )


@pytest.mark.parametrize(("language", "encoding", "text"), CASES)
def test_a_language_is_read_as_it_was_written(
    language: str, encoding: str, text: str, tmp_path: Path
) -> None:
    if encoding in ("iso8859-15", "latin-1"):
        text = text.translate(REPLACED)
    rows = rows_of(text)
    path = tmp_path / "rows.csv"
    path.write_bytes(csv_of(rows).encode(encoding))
    source = open_source(path)
    columns = read_columns(source, ["text", "label"])
    assert columns == {key: [row[key] for row in rows] for key in ("text", "label")}
    assert language in source.encoding and source.guessed


def test_any_form_of_text_may_be_in_another_encoding(tmp_path: Path) -> None:
    rows = rows_of(TEXTS["German", "cp1252 iso8859-15 latin-1 cp850 mac-roman"])
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    one_line = json.dumps(rows * 200, ensure_ascii=False)
    forms = {"rows.jsonl": lines, "rows.json": one_line, "rows.tsv": csv_of(rows).replace('",', '"\t')}
    for name, content in forms.items():
        (tmp_path / name).write_bytes(content.replace("text,label", "text\tlabel").encode("cp1252"))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        for path in (tmp_path / name, tmp_path / f"{name}.gz"):
            source = open_source(path)
            assert source.encoding == "cp1252 (German)"
            assert read_columns(source, ["text"])["text"][:4] == [row["text"] for row in rows]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_need_no_mark(encoding: str, tmp_path: Path) -> None:
    for text in TEXTS.values():
        rows = rows_of(text)
        (tmp_path / "rows.csv").write_bytes(csv_of(rows).encode(encoding))
        source = open_source(tmp_path / "rows.csv")
        assert read_columns(source, ["text"])["text"] == [row["text"] for row in rows]
        assert source.encoding == encoding


def test_a_study_says_what_its_files_were_read_as(tmp_path: Path) -> None:
    rows = rows_of(TEXTS["French", "cp1252 iso8859-15 latin-1 cp850 mac-roman"])
    texts = [{"text": f"{i} {row['text']}", "label": row["label"]} for i in range(10) for row in rows]
    (tmp_path / "rows.csv").write_bytes(csv_of(texts).encode("cp1252"))
    (tmp_path / "test.csv").write_bytes(csv_of(texts[::3]).encode("utf-16"))
    (tmp_path / "plain.csv").write_text(csv_of(texts[::3]))
    task = read_task(tmp_path / "rows.csv", tmp_path / "plain.csv", tmp_path / "test.csv")
    assert dict(task.origin) == {
        "train": "given, read as cp1252 (French)",
        "validation": "given",
        "test": "given, read as UTF-16",
    }
    (finding,) = (finding for finding in examine(task) if finding.check == "encoding")
    assert finding.severity == "advice" and "was read as cp1252 (French)" in finding.what
    assert "arrivée" in finding.examples[0] and (finding.count, finding.share) == (40, 1.0)


# ------------------------------------------------------------------------------- uncertain


@pytest.mark.parametrize(
    ("what", "content", "names"),
    [
        # one letter more or less is no evidence: jalapeño or jalapeńo
        (
            "a few letters",
            "the jalape\xf1o is not what I want of it and you".encode("latin-1"),
            "cp1252 or cp1250",
        ),
        ("no language", b"cafes, caf\xe9, caf\xe8", "cp1252"),
        ("names", "Gda\u0144sk is in the north and Pozna\u0144 is not".encode("cp1250"), "cp1250"),
        # Vietnamese marks its letters with bytes of their own, which no other language does
        ("another language", "Gói hàng ðến quá muộn và hộp bị móp".encode("cp1258", "ignore") * 9, ""),
        (
            "Esperanto",
            "La pakaĵo alvenis tro malfrue kaj la skatolo estis tute ĉifita.".encode("iso8859-3") * 9,
            "",
        ),
        ("noise", bytes(range(128, 256)), ""),
    ],
)
def test_what_is_not_certain_is_refused_with_what_it_may_be(
    what: str, content: bytes, names: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"text,label\n" + b"".join(b'"%s",%d\n' % (content, i % 2) for i in range(8)))
    with pytest.raises(TaskError, match=r"rows.csv is not UTF-8 text: line 2 holds the byte 0x") as caught:
        open_source(path)
    message = str(caught.value)
    assert names in message and ("it may be" in message) >= bool(names) and "-t utf-8" in message


def test_damaged_utf_8_is_not_taken_for_something_else(tmp_path: Path) -> None:
    for text in TEXTS.values():
        content = bytearray(csv_of(rows_of(text)).encode() * 5)
        place = next(i for i, byte in enumerate(content) if byte > 127)
        del content[place]
        (tmp_path / "rows.csv").write_bytes(bytes(content))
        with pytest.raises(TaskError, match=r"line 2 holds the byte 0x..; save it as UTF-8"):
            open_source(tmp_path / "rows.csv")


def test_a_byte_that_is_rare_must_be_told_as_well(tmp_path: Path) -> None:
    german = csv_of(rows_of(TEXTS["German", "cp1252 iso8859-15 latin-1 cp850 mac-roman"]))
    path = tmp_path / "rows.csv"
    # 0xbc is a quarter in cp1252 and Œ in iso8859-15
    path.write_bytes((german * 4000).encode("cp1252") + b'"oder \xbc",bad\n')
    assert path.stat().st_size > 1 << 20
    with pytest.raises(TaskError, match="it may be iso8859-15 or cp1252"):
        open_source(path)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_reading_that_is_certain_is_right(data: st.DataObject) -> None:
    """Whatever part of the texts a file holds: it is refused or right."""
    (_, encodings), text = data.draw(st.sampled_from(sorted(TEXTS.items())))
    encoding = data.draw(st.sampled_from(encodings.split()))
    words = text.translate(REPLACED).split()
    chosen = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=60))
    written = " ".join(chosen)
    found = certain(readings(written.encode(encoding)))
    assert found is None or found.text == written


@given(content=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_noise_is_no_language(content: bytes) -> None:
    assert certain(readings(content + b"\xff\x81")) is None


def test_a_long_file_is_looked_at_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a" * 3_000_000 + b" caf\xe9 " + b"b" * 3_000_000)
    with path.open("rb") as stream:
        assert guess(stream).encoding is None
