"""What a user sees of a result: figures, the report, tables in a terminal and in a notebook."""

from lemmata.show.draw import caption as caption
from lemmata.show.draw import figure as figure
from lemmata.show.notebook import notebook_html as notebook_html
from lemmata.show.output import check_output as check_output
from lemmata.show.output import save as save
from lemmata.show.report import report as report
from lemmata.show.report import write_report as write_report
