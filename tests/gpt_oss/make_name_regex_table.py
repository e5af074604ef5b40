#!/usr/bin/env python3
"""Writes name_regex_table.inc: what Python's re.match finds, for NameRegex to agree with.

    python3 tests/gpt_oss/make_name_regex_table.py > tests/gpt_oss/name_regex_table.inc

Every pattern is tried on every name. A row is the pattern and one character a name: 1 for a match,
0 for none; or the pattern and "E" where re.compile raises. Needs Python 3.11 or later.
"""

import re
import warnings

NAMES = [
    "a", "A", "b", "ab", "aab", "abab", "aba\n", "\n", "a\nb", "a\n\n", "a.b", "a-z", "{a}",
    "a{2}", "[:a:]",
    "1", "a1", "_", " ", "a b", "\t", "\x00", "a\x00b", "\x85", "\u00e9", "\u00c9",
    "\u00b2", "a\u0300",
    "\u212a", "\U0001f600",
    "model.layers.0.mlp.router.weight",
    "model.layers.12.mlp.experts.gate_up_proj",
    "model.layers.12.mlp.experts.gate_up_proj_blocks",
    "model.layers.3.self_attn._extra_state",
    "lm_head.weight",
]

PATTERNS = [
    # What this is for.
    r".*_extra_state.*", r"_extra_state", r"model\.layers\.\d+\.mlp\.router", r".*\.weight$",
    r"lm_head", r"head",
    r"model\.layers\.(?:0|1\d)\.", r"(?!lm_head).*weight", r".*(?<!proj)_blocks", r"(?i)MODEL\.",
    r"",
    # Ends.
    r"a\Z", r"a$", r"(?m)a$", r"(?m)a\n^b", r"(?m)a\n^\Z", r"(?m)\n^$", r"a.b", r"(?s)a.b",
    r"\A\Z", r"^^a$$", r"a\Z\n",
    # Categories and boundaries.
    r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", 
    r"a\b", r"a\B", r".\b", r"[\W\d]\Z", r"[^\W\d]\Z", r"[^\S\n]", r"[\D]\Z",
    r"[\s\S]\Z", r"[\w.]+\Z",
    # Classes.
    r"[]a]", r"[^]a]", r"[[:a:]]", r"[a\-z]+\Z", r"[a-]+b?", r"[+--]", r"[\b]", r"[\x00]",
    r"[\141]", r"[a-\x7a]",
    r"[\u00e9]", "[\u00e9-\u00ea]", r"(?i)[\u00e9]", r"[^a]", r"[.]", r"[&&a]", r"[a||b]",
    # Characters.
    r"\x61", r"\u0061", r"\U00000061", r"\U0001F600", r"\141", r"\0", r"\t", r"\.", r"\-",
    "\u00e9", "\\\u00e9",
    "\x00", r"a\x00b", r"(?i)k", "(?i)\u00e9", r"\\", r"a\{2\}", r"a{2", r"{a}", r"a{}", r"a{,x}",
    r"]", r"}",
    # Repetitions.
    r"a*", r"a+b", r"a{2}", r"a{,2}b", r"a{1,}b", r"a{0}b", r"a*?b", r"a{1,2}?b", r"a++b", r"a*+a",
    r"(?:ab){2}",
    r"(?:a|ab)++b", r"(?>a|ab)b", r"(a*)*b", r"(?:)*a", r"(?=a)*b", r"(a?)+\Z",
    # Groups and references.
    r"(a)\1", r"(?P<n>a)(?P=n)", r"(ab)\1\Z", r"(a)?(?(1)b|a)", r"(?P<n>a)?(?(n)b)", r"(a)|b\1",
    r"(?#x)a", r"(?#\))a",
    r"(?i:A)b", r"(?i)(?-i:a)B", r"(?s:.)\Z", r"(?x) a  b # c", r"(?x)[ ]", r"(?x)a *",
    r"(?i)(?s)A.B", r"(?im-s:A$)",
    r"(?<=a)b", r"a(?<=a)b", r"a(?<!b)b", r"a(?=b)", r"a(?!b)", r"a(?<=(?=a).)", r"(a)(?<=\1)b",
    # What Python refuses.
    r"\K", r"\h", r"\H", r"\R", r"\X", r"\C", r"\G", r"\z", r"\e", r"\cA", r"\Qa\E", r"\E",
    r"\o{141}", r"\p{L}",
    r"\x{61}", r"\xa", r"\u61", r"\U00110000", r"\1", r"\8", r"[\Z]",
    r"\g{1}", r"\k<n>",
    r"(?R)", r"(?0)", r"(?1)", r"(?+1)", r"(?&n)", r"(?P>n)", r"(?|a|b)", r"(?<n>a)", r"(?'n'a)",
    r"(*VERB)", r"(*FAIL)",
    r"(?C)", r"(?^i)", r"(?J)", r"(?U)", r"(?n)", r"(?xx)a(", 
    r"(?au)a", r"(?-a:a)",
    r"(?L)a", r"(?a)(?u)", r"(", r")", r"(a", r"a)", r"[", r"[]", r"[^]",
    r"[a", r"[b-a]", r"[\d-a]",
    r"*", r"a**", r"a{2}{3}", r"a+++", r"^*", r"\b+", r"|*", r"(?:*)", r"a{2,1}",
    r"(?P<n>a)(?P<n>b)", r"(?P<1>a)",
    r"(?P<>a)", r"(?P=n)", r"(?P", r"(?", r"(?#", r"(?(2)a)", r"(?(0)a)",
    r"(?(n)a)", r"(a)(?(1)a|b|c)",
    r"(?<=a*)", r"(?<!ab?)", "\\",
]


def quoted(text):
    plain = set(range(32, 127)) - set(b'"\\?')
    escaped = (chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(escaped)}"sv'


def row(pattern):
    try:
        compiled = re.compile(pattern)
    except (re.error, ValueError):
        return "E"
    return "".join("01"[compiled.match(name) is not None] for name in NAMES)


def main():
    warnings.simplefilter("ignore")
    print("// Written by make_name_regex_table.py.")
    print("constexpr std::string_view kNames[] = {")
    for name in NAMES:
        print(f"    {quoted(name)},")
    print("};\nconstexpr Row kRows[] = {")
    for pattern in PATTERNS:
        print(f'    {{{quoted(pattern)}, "{row(pattern)}"}},')
    print("};")


main()
