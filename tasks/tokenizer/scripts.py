"""Names of the Unicode scripts that sentencepiece distinguishes; a light import for recipes."""

from __future__ import annotations

HAN = "Han"
"""Hiragana and Katakana count as Han."""

_OTHERS = (
    "Latin Cyrillic Greek Arabic Hebrew Devanagari Bengali Tamil Telugu Kannada Malayalam Gujarati "
    "Gurmukhi Oriya Sinhala Thai Lao Khmer Myanmar Tibetan Hangul Georgian Armenian Ethiopic "
    "Mongolian Bopomofo Cherokee Canadian_Aboriginal Yi Thaana Syriac Nko Samaritan Mandaic Ogham "
    "Runic Coptic Gothic Tifinagh Braille Glagolitic Balinese Javanese Sundanese Batak Buginese "
    "Cham Kayah_Li Lepcha Limbu Lisu Meetei_Mayek New_Tai_Lue Ol_Chiki Phags_Pa Rejang Saurashtra "
    "Syloti_Nagri Tagalog Tagbanwa Hanunoo Buhid Tai_Le Tai_Tham Tai_Viet Vai Bamum Adlam Chakma "
    "Kaithi Sharada Takri Khojki Khudawadi Tirhuta Modi Newa Grantha Osage Miao Mro Pahawh_Hmong "
    "Bassa_Vah Deseret Shavian Osmanya Elbasan Duployan Cuneiform Egyptian_Hieroglyphs "
    "Anatolian_Hieroglyphs Linear_A Linear_B Cypriot Phoenician Old_Italic Old_Persian Ugaritic "
    "Lydian Lycian Carian Brahmi Kharoshthi Avestan Tangut Nushu SignWriting"
)
OTHER_SCRIPTS = tuple(_OTHERS.split())
KNOWN_SCRIPTS = (HAN, *OTHER_SCRIPTS)
