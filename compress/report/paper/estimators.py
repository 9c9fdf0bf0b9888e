"""The statistics behind a table's figures, each with its sources; only those that the table uses."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from compress.analysis.accuracy import resamples
from compress.analysis.dominance import COST_MARGIN
from compress.analysis.loss import margin_words
from compress.analysis.net import IDLE_ERROR
from compress.analysis.odds import adjusted, front_odds
from compress.analysis.pareto import Table
from compress.analysis.resampling import RESAMPLES as FRONT_RESAMPLES
from compress.records.result import Accuracy, Point
from compress.records.robust import BIWEIGHT_FROM, DEGREES_PER_ROUND, REJECTED, TRIMMED_FROM
from compress.records.stats import FEW

SOURCES: Mapping[str, str] = {
    "Cochran 1937": "W. G. Cochran, Problems arising in the analysis of a series of similar experiments, Supplement "
    "to the Journal of the Royal Statistical Society 4(1), 1937",
    "Efron 1979": "B. Efron, Bootstrap methods: another look at the jackknife, Annals of Statistics 7(1), 1979",
    "Holm 1979": "S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of "
    "Statistics 6(2), 1979",
    "Kafadar 1982": "K. Kafadar, A biweight approach to the one-sample problem, Journal of the American Statistical "
    "Association 77(378), 1982",
    "Kendall 1954": "M. G. Kendall, Note on bias in the estimation of autocorrelation, Biometrika 41(3/4), 1954",
    "Laumanns et al. 2002": "M. Laumanns, L. Thiele, K. Deb and E. Zitzler, Combining convergence and diversity in "
    "evolutionary multiobjective optimization, Evolutionary Computation 10(3), 2002",
    "Liu 1988": "R. Y. Liu, Bootstrap procedures under some non-i.i.d. models, Annals of Statistics 16(4), 1988",
    "Marriott and Pope 1954": "F. H. C. Marriott and J. A. Pope, Bias in the estimation of autocorrelations, "
    "Biometrika 41(3/4), 1954",
    "Mosteller and Tukey 1977": "F. Mosteller and J. W. Tukey, Data Analysis and Regression, Addison-Wesley, 1977",
    "Schuirmann 1987": "D. J. Schuirmann, A comparison of the two one-sided tests procedure and the power approach "
    "for assessing the equivalence of average bioavailability, Journal of Pharmacokinetics and Biopharmaceutics "
    "15(6), 1987",
    "Tango 1998": "T. Tango, Equivalence test and confidence interval for the difference in proportions for the "
    "paired-sample design, Statistics in Medicine 17(8), 1998",
    "Tukey and McLaughlin 1963": "J. W. Tukey and D. H. McLaughlin, Less vulnerable confidence and significance "
    "procedures for location based on a single sample, Sankhya A 25(3), 1963",
    "Wilson 1927": "E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of "
    "the American Statistical Association 22(158), 1927",
    "Yuen 1974": "K. K. Yuen, The two-sample trimmed t for unequal population variances, Biometrika 61(1), 1974",
}
"""Name of a source -> its full reference."""


class Statement(NamedTuple):
    """A statistic and the names of its sources."""

    words: str
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f" ({'; '.join(self.sources)})" if self.sources else ""
        return f"{self.words}{named}."


class Location(NamedTuple):
    """The location of a session's rounds, by their number."""

    least: int
    most: int
    statement: Statement


LOCATIONS = (
    Location(1, TRIMMED_FROM - 1, Statement(f"Fewer than {TRIMMED_FROM} rounds are averaged by their mean")),
    Location(
        TRIMMED_FROM,
        BIWEIGHT_FROM - 1,
        Statement(
            f"{TRIMMED_FROM} to {BIWEIGHT_FROM - 1} rounds are averaged by the mean without the smallest and the "
            "largest, with the Winsorized variance",
            ("Tukey and McLaughlin 1963", "Yuen 1974"),
        ),
    ),
    Location(
        BIWEIGHT_FROM,
        10**9,
        Statement(
            f"{BIWEIGHT_FROM} or more rounds are averaged by Tukey's biweight, which rejects rounds beyond "
            f"{REJECTED:g} median absolute deviations, with {DEGREES_PER_ROUND:g} (n - 1) degrees of freedom, rounded",
            ("Mosteller and Tukey 1977", "Kafadar 1982"),
        ),
    ),
)


def statements(table: Table) -> list[Statement]:
    """Return the statistics of costs, of the metric, of verdicts and of the front."""
    return [*_costs(table), *_metric(table), *_verdicts(table), *_front(table)]


def references(used: Iterable[Statement]) -> list[str]:
    """Return the full references of these statements' sources, by name."""
    return [SOURCES[name] for name in sorted({name for statement in used for name in statement.sources})]


def _points(table: Table) -> list[Point]:
    return [row.headline for row in table.rows if row.headline is not None]


def _costs(table: Table) -> Iterator[Statement]:
    """Yield the statistics of latencies, energies and their ratios."""
    points = _points(table)
    if not points:
        return
    yield Statement(
        "Intervals are 95 % unless adjusted for several recipes; those of latencies, energies and ratios are "
        "Student's t over rounds. Ratios are averaged as logarithms of the ratios within rounds"
    )
    counts = {n for p in points for n in Counter(r.session for r in p.rounds).values() or (p.latency_s.n,)}
    yield from (each.statement for each in LOCATIONS if any(each.least <= n <= each.most for n in counts))
    ratios = [ratio for point in points for ratio in point.ratios]
    if any(ratio.correlation or ratio.correlation_energy for ratio in ratios):
        yield Statement(
            "The correlation of successive rounds, pooled over all pairs of models and corrected for its bias, widens "
            "the intervals",
            ("Kendall 1954", "Marriott and Pope 1954"),
        )
    if any(point.sessions > 1 for point in points):
        yield Statement(
            "Over several sessions the interval is Student's t over sessions, and at least as wide as the pooled one "
            "within them; the variance between sessions is estimated by the method of moments",
            ("Cochran 1937",),
        )
    if any(ratio.net for ratio in ratios):
        yield Statement(f"Ratios net of idle include an error of {100 * IDLE_ERROR:g} % of the idle power")


def _metric(table: Table) -> Iterator[Statement]:
    """Yield the statistics of the metric and of its difference to the reference."""
    accuracy = _accuracy(table)
    if accuracy is None:
        return
    if accuracy.metric == "accuracy":
        yield Statement("The interval of the accuracy is Wilson's score interval", ("Wilson 1927",))
        yield Statement("That of its difference is the score interval of paired proportions", ("Tango 1998",))
    else:
        yield Statement(
            f"The intervals of {accuracy.metric} and of its difference are percentile bootstraps over examples, of "
            f"{resamples(accuracy.metric):,} resamples; with fewer than {FEW} differing outcomes, whose sign test is "
            "not significant, the interval of the difference contains 0",
            ("Efron 1979",),
        )
    if any(result.accuracy and result.accuracy.seeds for result in table.results):
        yield Statement(
            "The metric's intervals also cover the choice of the training seed, by Student's t over the seeds"
        )
    if table.margin is not None:
        yield Statement("Equality is shown by two one-sided tests at 2.5 % each", ("Schuirmann 1987",))


def _verdicts(table: Table) -> Iterator[Statement]:
    if family := adjusted(table):
        yield Statement(
            f"Costs of verdicts are adjusted for {len(family)} recipes by Holm's method, and their intervals by "
            "Bonferroni's; differences of the metric are not",
            ("Holm 1979",),
        )


def _front(table: Table) -> Iterator[Statement]:
    """Yield the rule of the front and how its percentages are drawn."""
    accuracy = _accuracy(table)
    if not table.front or accuracy is None:
        return
    margin = "" if table.margin is None else f"{margin_words(table.margin, accuracy)} of {accuracy.metric} and "
    yield Statement(
        f"The front is an approximate Pareto set, with margins of {margin}{100 * COST_MARGIN:g} % of {table.axis}",
        ("Laumanns et al. 2002",),
    )
    if front_odds(table):
        several = any(point.sessions > 1 for point in _points(table))
        yield Statement(
            f"The percentages of the front count {FRONT_RESAMPLES:,} resamples of rounds and examples"
            + (", and a wild bootstrap of sessions" if several else ""),
            ("Liu 1988",) if several else ("Efron 1979",),
        )


def _accuracy(table: Table) -> Accuracy | None:
    return next((row.accuracy for row in table.rows if row.accuracy), None)
