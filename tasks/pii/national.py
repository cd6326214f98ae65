"""Phone numbers as they are written within a country, without its code.

1. A cheap pattern finds runs of 7 to 14 digits with blanks, dots, hyphens, slashes or brackets.
2. libphonenumber's matcher says which of them are valid numbers of a region, and whether their
   digits are grouped as they are written there.
3. The text around decides the rest: the same digits are a date, a price, an identifier or an
   ISBN elsewhere. A word such as "Tel." or "电话" before is enough; without one the number must
   look like nothing else, see `_is_plain`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import phonenumbers

_BLANKS = " \u00a0\u2009\u202f"
_HYPHENS = "\u2010\u2011\u2013-"
_RUN = re.compile(
    rf"(?<![\w+,/=$€£¥#%&?@{_HYPHENS}])(?:\(\d|\d)(?:[{_BLANKS}.()/{_HYPHENS}]{{0,3}}\d){{6,}}+",
    re.ASCII,
)
"""Digits that may be a number, or several in a row."""
_NOT_BEFORE = re.compile(r"[.:]")
"""Signs before digits of another kind, unless a word has said what they are: Tel:030, 电话:010."""
_NOT_BEHIND = re.compile(r"[\w%=]", re.ASCII)
_MOST_DIGITS = 14
_MOST_CHARACTERS = 60
"""What is looked at of a run of digits: a table of numbers may have thousands."""
_LISTED = re.compile(r"\s*(?:[,;/|、，；／]|y|e|o|or|and|et|ou|und|oder|и|或|和)?\s*")
"""What stands between two numbers of which the first has been found."""
_CUE = re.compile(
    r"(?<![a-z])(?:tel|tél|telefon|telephone|teléfono|teléfonos|telefono|telefone|téléphone|tfno|"
    r"tlf|phone|phones|ph|call|mobile|mobil|handy|cell|cellphone|móvil|celular|cellulare|"
    r"gsm|fax|telefax|hotline|helpline|whatsapp|wechat|sms|dial|rufnummer|"
    r"ruf|fon|тел|телефон|телефона|моб|факс|звоните|هاتف|الهاتف|جوال|تلفون|tel[ée]fonn\w*)"
    r"(?:[\s.]*(?:no|nr|number|us|numéro|numero|número|nummer|at|on|м))?[\s.:)/|*†☎✆📞-]*\(?$"
    r"|(?:电话|電話|手机|手機|热线|熱線|传真|傳真|座机|联系方式|致电|微信|☎|✆|📞|📱|전화|팩스|"
    r"携帯|ファックス|お問い合わせ)[^\n\d]{0,6}$",
    re.IGNORECASE,
)
_CUE_CHARACTERS = 40
_OTHER = re.compile(
    r"(?<![a-z])(?:isbn|issn|ean|upc|gtin|asin|doi|pmid|pmc|arxiv|oclc|lccn|order|invoice|item|"
    r"part|sku|model|serial|id|ids|ref|reference|no|nos|nr|num|number|art|article|artikel|patent|"
    r"account|acct|iban|bic|vat|ein|abn|acn|siret|siren|nif|cif|cnpj|cpf|ust|hrb|license|licence|"
    r"lic|reg|version|v|build|lot|batch|case|docket|ticket|bug|issue|p|pp|pages?|vol|zip|plz|"
    r"lat|lon|latitude|longitude|invoice|tracking|code|инн|кпп|огрн|бик|номер|арт)"
    r"[\s.:#№(-]*$|№\s*$|(?:编号|編號|订单|訂單|号码|證號|证号|备案|备|账号|帳號|卡号|代码|号|QQ)"
    r"[^\n\d]{0,3}$",
    re.IGNORECASE,
)
_MONEY_BEHIND = re.compile(
    rf"[{_BLANKS}]?(?:[%°€$£¥×]|(?:eur|usd|gbp|chf|km|kg|mm|cm|mb|gb|x|ms|元|円|원|руб)\b)",
    re.IGNORECASE,
)
_YEAR = r"(?:1[5-9]|20)\d\d"
_DATE = re.compile(
    rf"{_YEAR}[^\d]{{1,3}}{_YEAR}|{_YEAR}[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./ ]\d\d?[-./ ]{_YEAR}|"
    rf"{_YEAR}[01]\d[0-3]\d"
)
_DECIMAL = re.compile(r"\d+\.\d+")
_GROUP = re.compile(r"\d\d")
_CODE = re.compile(rf"(?<![\w+])\+[1-9]\d{{0,2}}[{_BLANKS}.()/{_HYPHENS}]{{0,3}}\Z")
"""A country code before a number that is written as within the country: +44 (0)20 7089 4700."""
_CODE_CHARACTERS = 7
_NUMBER_BESIDE = re.compile(rf"[{_BLANKS}]?[,;/x*+=<>|{_BLANKS}]?[{_BLANKS}]?\d")

NANP = frozenset(phonenumbers.region_codes_for_country_code(1))
"""Regions of the North American plan, in which a number is three digits, three and four."""
_NANP_FORM = re.compile(
    rf"\(?\d{{3}}\)?[{_BLANKS}./{_HYPHENS}]{{1,2}}\d{{3}}[.{_BLANKS}{_HYPHENS}]\d{{4}}"
)

REGIONS_OF: dict[str, tuple[str, ...]] = {
    "ar": ("EG", "SA", "AE", "MA"),
    "bg": ("BG",),
    "cs": ("CZ",),
    "da": ("DK",),
    "de": ("DE", "AT", "CH"),
    "el": ("GR",),
    "en": ("US", "GB", "AU", "IN"),
    "es": ("ES", "MX", "AR"),
    "fi": ("FI",),
    "fr": ("FR", "BE", "CH"),
    "he": ("IL",),
    "hi": ("IN",),
    "hu": ("HU",),
    "id": ("ID",),
    "it": ("IT", "CH"),
    "ja": ("JP",),
    "ko": ("KR",),
    "nb": ("NO",),
    "nl": ("NL", "BE"),
    "nn": ("NO",),
    "no": ("NO",),
    "pl": ("PL",),
    "pt": ("BR", "PT"),
    "ro": ("RO",),
    "ru": ("RU",),
    "sk": ("SK",),
    "sv": ("SE",),
    "th": ("TH",),
    "tr": ("TR",),
    "uk": ("UA",),
    "vi": ("VN",),
    "zh": ("CN", "TW", "HK"),
}
"""Language (ISO 639-1) -> the regions in which most of its pages are written."""


def regions_of(language: str) -> tuple[str, ...]:
    """The regions whose numbers are looked for in a language (a code, with or without a script);
    none for others than `REGIONS_OF`.
    """
    return REGIONS_OF.get(language.partition("-")[0], ())


def national_numbers(
    text: str,
    regions: Sequence[str],
    begin: int = 0,
    end: int | None = None,
    is_behind: bool = False,
) -> Iterator[tuple[int, int]]:
    """Spans of phone numbers of these regions in a part of the text, ascending and disjoint.

    `is_behind`: a phone number ends where this part begins.
    """
    if not regions:
        return
    done = begin if is_behind else -1
    for run in _RUN.finditer(text, begin, len(text) if end is None else end):
        start, stop = run.span()
        before = text[max(0, start - _CUE_CHARACTERS) : start]
        is_called = _CUE.search(before) is not None or (
            done >= 0 and _LISTED.fullmatch(text, done, start) is not None
        )
        if _NOT_BEHIND.match(text, stop) or _is_another(run[0]):
            continue
        if not is_called and (
            _NOT_BEFORE.match(before[-1:])
            or _is_of_another_kind(text, start, stop, before)
            or (_NUMBER_BESIDE.match(text, stop) and not _is_listed(text, stop, regions))
        ):
            continue
        spans = _valid(run[0][:_MOST_CHARACTERS], regions, is_called)
        for first, last in ((start + low, start + high) for low, high in spans):
            if text[first] == "(" and ")" not in text[first:last]:
                first += 1
            code = _CODE.search(text, max(begin, done, first - _CODE_CHARACTERS), first)
            yield (code.start() if code else first), last
            done = last


def _is_of_another_kind(text: str, start: int, stop: int, before: str) -> bool:
    """Whether the digits of a span, or what stands around them, speak of something else."""
    digits = text[start:stop]
    return bool(
        len(digits) > _MOST_CHARACTERS
        or _OTHER.search(before)
        or _DATE.search(digits)
        or _MONEY_BEHIND.match(text, stop)
    )


def _is_listed(text: str, stop: int, regions: Sequence[str]) -> bool:
    """Whether the number behind is a phone number by itself, so that both are of a list."""
    separator = _LISTED.match(text, stop)
    behind = _RUN.match(text, separator.end()) if separator else None
    return behind is not None and bool(_valid(behind[0][:_MOST_CHARACTERS], regions, False))


def _is_another(candidate: str) -> bool:
    """Whether digits are a number of another kind, whatever stands before them: a decimal, a date,
    or digits each by itself.
    """
    return bool(
        _DECIMAL.fullmatch(candidate) or _DATE.fullmatch(candidate) or not _GROUP.search(candidate)
    )


def _valid(digits: str, regions: Sequence[str], is_called: bool) -> list[tuple[int, int]]:
    """Spans of the numbers among digits, by the first region that has some. Where no word says that
    they are numbers, it is only the first, or all where they are too many digits for one number and
    none is left over.
    """
    leniency = phonenumbers.Leniency.VALID if is_called else phonenumbers.Leniency.STRICT_GROUPING
    for region in regions:
        found = [
            (match.start, match.end)
            for match in phonenumbers.PhoneNumberMatcher(digits, region, leniency, max_tries=3)
            if is_called or _is_plain(match.raw_string, region)
        ]
        if is_called and found:
            return found
        if _count(digits) <= _MOST_DIGITS:
            if found:
                return found[:1]
        elif sum(_count(digits[low:high]) for low, high in found) == _count(digits):
            return found
    return []


def _count(digits: str) -> int:
    return sum(map(str.isdigit, digits))


def _is_plain(number: str, region: str) -> bool:
    """Whether a number looks like a phone number without a word that says so: it is in groups, and
    begins with its country's trunk prefix or an area code in brackets, or is of the North American
    form.
    """
    if region in NANP:
        return _NANP_FORM.search(number) is not None
    if number.isdigit():
        return False
    prefix = phonenumbers.ndd_prefix_for_region(region, True)
    digits = re.sub(r"\D", "", number)
    return bool(prefix and digits.startswith(prefix) and len(digits) >= 9)
