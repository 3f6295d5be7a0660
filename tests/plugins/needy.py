"""A paper whose only claim needs data that no test machine has."""

from dataclasses import replace

from noisy_quadratic import FLOOR
from noisy_quadratic import PAPER as QUADRATIC

CLAIM = replace(FLOOR, id="needy.floor", needs=("data:nowhere", "extra:no_such_package"))
PAPER = replace(QUADRATIC, id="needy", claims=(CLAIM,))
