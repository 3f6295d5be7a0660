"""The papers' notation as it is printed: in a drawing, by LaTeX, on a page.

Claims write plain words (`alpha' = 0.8`, `W_Q p_query`) or mathematics between dollars.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

__all__ = ["html", "tex", "typeset"]

COMMANDS = re.findall(
    r"\S+",
    """
α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta κ kappa λ lambda μ mu ν nu ξ xi π pi
ρ rho σ sigma τ tau φ phi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Σ Sigma Φ Phi Ψ Psi
Ω Omega ≤ leq ≥ geq ≠ neq ≈ approx × times · cdot ± pm → to ∞ infty ‖ Vert
""",
)
MATHEMATICS = dict(zip(COMMANDS[::2], COMMANDS[1::2], strict=True))
LETTERS = {command: letter for letter, command in MATHEMATICS.items()}
GREEK = {"eps": "ε"} | {command: letter for command, letter in LETTERS.items() if letter.isalpha()}
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))

NAME = "|".join([*GREEK, "[A-Za-z]"])
WITH_INDEX = re.compile(rf"(?<![\w\\])({NAME})('?)_([A-Za-z0-9]{{1,6}}|[*#])(?![\w'])")
GREEK_WORD = re.compile(rf"(?<![\w\\])({'|'.join(GREEK)})('?)(?![A-Za-z_])")
WITH_POWER = re.compile(r"\^(?:\(([^()]+)\)|\{([^{}]+)\}|(-?\d+(?:/\d+)?))")
MINUS = re.compile(r"(?<![\w)\]{}$.])-(?=[\d.])")
COMPARISON = {" >= ": " ≥ ", " <= ": " ≤ "}


def typeset(text: str) -> str:
    r"""Plain words with their mathematics between dollars; text that has dollars stays as it is.

    >>> print(typeset("W_Q p_query at alpha' >= 0.8, S_1 = 1.1"))
    $W_{Q}$ $p_{\mathrm{query}}$ at α′ ≥ 0.8, $S_{1}$ = 1.1
    >>> print(typeset("(M1 - 1)^(-1/2)"))
    (M1 - 1)$^{-1/2}$
    >>> print(typeset("0-1 error from -2/3 to eps^-2"))
    0-1 error from −2/3 to ε$^{-2}$
    >>> print(typeset("alpha_*^-2, alpha_#"))
    $\alpha_{*}$$^{-2}$, $\alpha_{\#}$
    >>> print(typeset("W^(0) = 4 I"))
    W$^{(0)}$ = 4 I
    """
    if "$" in text:
        return text
    text = WITH_INDEX.sub(_indexed, text)
    text = GREEK_WORD.sub(lambda found: GREEK[found[1]] + "′" * len(found[2]), text)
    text = WITH_POWER.sub(_raised, text)
    text = MINUS.sub("−", text)
    for plain, sign in COMPARISON.items():
        text = text.replace(plain, sign)
    return text


def _raised(found: re.Match[str]) -> str:
    """A power, or a count of steps, which keeps its parentheses."""
    step = found[1] is not None and found[1].isdigit()
    return f"$^{{({found[1]})}}$" if step else f"$^{{{found[1] or found[2] or found[3]}}}$"


def _indexed(found: re.Match[str]) -> str:
    name, prime, index = found.groups()
    letter = rf"\{MATHEMATICS[GREEK[name]]}" if name in GREEK else name
    word = r"\#" if index == "#" else index if len(index) == 1 else rf"\mathrm{{{index}}}"
    return f"${letter}{prime}_{{{word}}}$"


def tex(text: str) -> str:
    r"""Plain text with mathematics between dollars, as LaTeX of any age reads it.

    >>> print(tex("α' ≥ 80 % of $S_1$, row_norm, M₁"))
    $\alpha$' $\geq$ 80 \% of $S_1$, row\_norm, M$_1$
    """
    parts = text.split("$")
    if len(parts) % 2 == 0:  # a dollar without its partner is a dollar
        return r"\$".join(_plain(part) for part in parts)
    return "".join(_plain(part) if i % 2 == 0 else f"${part}$" for i, part in enumerate(parts))


def _plain(text: str) -> str:
    escaped = re.sub(r"([&%#_{}])", r"\\\1", text)
    return "".join(_letter(letter) for letter in escaped)


def _letter(letter: str) -> str:
    if letter in SUBSCRIPTS:
        return f"$_{SUBSCRIPTS[letter]}$"
    if letter == "′":
        return "'"
    return rf"$\{MATHEMATICS[letter]}$" if letter in MATHEMATICS else letter


def html(text: str) -> Markup:
    r"""Plain words or simple mathematics between dollars, as a page shows them.

    >>> print(html("error < 1 % where S_1 >= 1"))
    error &lt; 1 % where <i>S</i><sub>1</sub> ≥ 1
    >>> print(html("alpha_#^2"))
    <i>α</i><sub>#</sub><sup>2</sup>
    >>> print(html(r"$T \approx \alpha^{-2/3}$"))
    <i>T</i> ≈ <i>α</i><sup>−2/3</sup>
    """
    parts = typeset(text).split("$")
    if len(parts) % 2 == 0:
        return escape(text)
    shown = (escape(part) if i % 2 == 0 else _formula(part) for i, part in enumerate(parts))
    return Markup("").join(shown)


def _formula(text: str) -> Markup:
    """Letters in italics, subscripts and superscripts; enough for the names of quantities."""
    text = re.sub(r"\\mathrm\{([^{}]*)\}", r"\1", text).replace(r"\#", "#")
    text = re.sub(r"\\([A-Za-z]+)", lambda found: LETTERS.get(found[1], found[1]), text)
    shown = str(escape(text.replace("-", "−").replace("'", "′")))
    shown = re.sub(r"(?<![\w&#{])([^\W\d_])(?![A-Za-z;])", r"<i>\1</i>", shown)
    for sign, tag in (("_", "sub"), (r"\^", "sup")):
        shown = re.sub(rf"{sign}(?:\{{([^{{}}]*)\}}|(\w))", rf"<{tag}>\1\2</{tag}>", shown)
    return Markup(shown)
