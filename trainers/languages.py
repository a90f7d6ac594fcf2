"""What tells a language in a text: its letters beyond a-z, and a few of its most frequent words."""

from __future__ import annotations

from dataclasses import dataclass

# From the languages' alphabets, with the letters of their everyday loanwords.
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
GREEK = "αβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋΐΰ"
HEBREW = "אבגדהוזחטיכךלמםנןסעפףצץקרשת"
ARABIC = "ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىيـًٌٍَُِّْ"
THAI = "กขฃคฅฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรฤลวศษสหฬอฮะัาำิีึืฺุูเแโใไๅๆ็่้๊๋์ํ"


@dataclass(frozen=True)
class Language:
    """One language."""

    name: str
    encodings: tuple[str, ...]
    """Those in which its files are found, beside UTF-8."""
    letters: frozenset[str]
    """Beyond a-z, in lower case; of Chinese, Japanese and Korean the most frequent characters."""
    words: frozenset[str]
    """Some of the most frequent; empty where words are not separated."""


def language(name: str, encodings: str, letters: str, words: str) -> Language:
    return Language(name, tuple(encodings.split()), frozenset(letters), frozenset(words.split()))


WEST = "cp1252 iso8859-15 cp850 cp437 mac-roman"
CENTRE = "cp1250 iso8859-2 cp852"
BALTIC = "cp1257 iso8859-13"
RUSSIAN = "cp1251 koi8-r cp866 iso8859-5"

LANGUAGES = (
    language(
        "English",
        f"{WEST} {CENTRE} {BALTIC} cp1254",
        "",
        "the and of to in is that for it you with this on not are be have",
    ),
    language("German", WEST, "äöüß", "der die und das ist nicht ein eine zu mit den von auf für im wird"),
    language("French", WEST, "àâæçèéêëîïôùûüœ", "le la les des est et une un dans pour que pas du sur ne"),
    language("Spanish", WEST, "áéíñóúü", "de la que el en los se del las por con una para no un es"),
    language("Portuguese", WEST, "àáâãçéêíóôõúü", "de que não do da em um para com os uma no na se por"),
    language("Italian", WEST, "àèéìíîòóùú", "di che il la per un non con una del sono è della le si"),
    language("Catalan", WEST, "àçèéíïòóúü", "de la que el els les per amb una és del un no en"),
    language("Dutch", WEST, "áéèêëïóöü", "de het een van en is dat op te niet voor met in zijn"),
    language("Swedish", WEST, "åäöé", "och att det en som på är av för inte den till med kan"),
    language("Danish", WEST, "åæøé", "og det at en den til er som på de ikke af for med"),
    language("Norwegian", WEST, "åæøéòóôü", "og det at en den til er som på ikke av for med"),
    language("Finnish", f"{WEST} {BALTIC}", "äöåšž", "ja on ei se että oli mutta kun tai ole voi"),
    language("Icelandic", WEST, "áéíóúýþæöð", "og að er sem það ekki um en til var við með"),
    language("Estonian", f"{WEST} {BALTIC}", "äöõüšž", "ja on ei et see mis oli kui ka või ole"),
    language("Polish", CENTRE, "ąćęłńóśźż", "nie się na do to jest że jak po co za przez dla od"),
    language("Czech", CENTRE, "áčďéěíňóřšťúůýž", "je na se že to by jsem pro ale jako nebo není"),
    language("Slovak", CENTRE, "áäčďéíĺľňóôŕšťúýž", "je na sa že to by som pre ale ako alebo nie"),
    language("Hungarian", CENTRE, "áéíóöőúüű", "az és hogy nem egy is meg van ez de ha csak"),
    language("Croatian", CENTRE, "čćđšž", "je na se da za nije su ili od ne biti kao"),
    language("Slovenian", CENTRE, "čćđšž", "je in na se da za ni so ali od ne kot pri"),
    language("Romanian", f"{CENTRE} iso8859-16", "ăâîșțşţ", "de și nu la cu în un pe este sau din o să"),
    language("Turkish", "cp1254 cp857", "çğıiöşüâîû", "ve bir bu için ile de da olarak değil olan"),
    language("Lithuanian", BALTIC, "ąčęėįšųūž", "ir kad yra su tai ne iš arba nuo ar kaip"),
    language("Latvian", BALTIC, "āčēģīķļņšūž", "un ir ka no ar par nav lai kas vai tiek"),
    language("Russian", RUSSIAN, CYRILLIC + "ё", "не на что как это по для из он но или при то"),
    language("Ukrainian", f"{RUSSIAN} koi8-u", CYRILLIC + "єіїґ", "не на що як це та для до від або із за"),
    language("Bulgarian", RUSSIAN, CYRILLIC, "на да за се не от по са или ще като при"),
    language("Serbian", RUSSIAN, "абвгдежзиклмнопрстуфхцчшђјљњћџ", "је на се да за није су или од не као"),
    language("Greek", "cp1253 iso8859-7", GREEK, "και το να του της για με από την είναι δεν στο"),
    language("Hebrew", "cp1255 iso8859-8", HEBREW, "של את על לא זה עם הוא או אם כי גם"),
    language("Arabic", "cp1256 iso8859-6", ARABIC, "في من على أن إلى لا هذا عن مع هذه أو التي"),
    language("Thai", "cp874", THAI, ""),
    language("Japanese", "cp932 euc_jp", "のにはをたがでてとしれさあるいもすまかなこっらんりくへ", ""),
    language("Chinese", "gb18030", "的一是不了在有人我他这中大来上个国到说们为和你地出会可时要就", ""),
    language("Chinese", "cp950", "的一是不了在有人我他這中大來上個國到說們為和你地出會可時要就", ""),
    language("Korean", "cp949", "이다는의에을를가하고한은로지도서기나리사자어아있니그", ""),
)
