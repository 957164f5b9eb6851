"""Checks Grafana dashboards: their form, that Grafana's schema knows every key, that every metric in them is
exported, that every query has data.

    dashboards.py METRICS PROMETHEUS DASHBOARD…

METRICS is the text of a real /metrics, PROMETHEUS the address of a Prometheus that scrapes it (`-`: queries
are not run). What is wrong goes to standard output, one thing a line; exit code 1 if there is any.

Variables are replaced as Grafana would with the scrape interval of one second that the test has. "Has
data" is at least one value that is a number: a quantile of an empty histogram is not.
"""

import json
import math
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

GRID = 24
# A query that a small Prometheus does not answer within this is too heavy for a dashboard.
QUERY_SECONDS = 10
VARIABLES = {"$__rate_interval": "15s", "$__interval": "15s", "$__range": "2m", "$instance": ".*"}
# Panels that show no data of their own.
SILENT = ("row", "text")
METRIC = re.compile(r"\b(?:certsieve|process)_[a-z0-9_]+\b")


def exported(text):
    """Names of the series in an exposition."""
    return {re.match(r"[^\s{]+", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


def panels_of(dashboard):
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def form(dashboard):
    """What is wrong with it as a file that is provisioned anywhere."""
    if not dashboard.get("uid"):
        yield "no uid: a link to it would not last"
    if dashboard.get("id") is not None:
        yield "an id belongs to one Grafana"
    for key in ("__inputs", "__requires", "__elements"):
        if key in dashboard:
            yield f"{key}: it was exported for sharing, and cannot be provisioned"
    if not dashboard.get("title") or not dashboard.get("description"):
        yield "no title or no description"
    variables = dashboard.get("templating", {}).get("list", [])
    if not any(v.get("name") == "datasource" and v.get("type") == "datasource" for v in variables):
        yield "no variable `datasource`"
    for variable in variables:
        if variable.get("type") == "query" and variable.get("datasource", {}).get("uid") != "${datasource}":
            yield f"variable {variable.get('name')}: its data source is fixed"
    panels = list(panels_of(dashboard))
    ids = [panel.get("id") for panel in panels]
    if len(set(ids)) != len(ids):
        yield "two panels have one id"
    placed = []
    for panel in panels:
        title = panel.get("title") or "a panel without title"
        place = panel.get("gridPos", {})
        try:
            x, y, w, h = (place[key] for key in "xywh")
        except KeyError:
            yield f"{title}: no place"
            continue
        if x < 0 or y < 0 or w < 1 or h < 1 or x + w > GRID:
            yield f"{title}: outside of the grid"
        for other, (ox, oy, ow, oh) in placed:
            if x < ox + ow and ox < x + w and y < oy + oh and oy < y + h:
                yield f"{title}: overlaps {other}"
        placed.append((title, (x, y, w, h)))
        if panel.get("type") in SILENT:
            continue
        if not panel.get("title") or not panel.get("description"):
            yield f"{title}: no title or no description"
        if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
            yield f"{title}: no unit"
        for source in (panel, *panel.get("targets", [])):
            if source.get("datasource", {}).get("uid") != "${datasource}":
                yield f"{title}: its data source is fixed"
        if not panel.get("targets"):
            yield f"{title}: no query"
        references = [target.get("refId") for target in panel.get("targets", [])]
        if len(set(references)) != len(references):
            yield f"{title}: two queries have one refId"
        for target in panel.get("targets", []):
            if re.search(r"\brate\(.*\[\d", target.get("expr", "")) and "histogram_quantile" not in target["expr"]:
                yield f"{title}: a rate over a fixed time; write $__rate_interval"


def unknown(given, kept, path=""):
    """What Grafana's own schema does not keep of a value."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from unknown(value, kept[key], f"{path}/{key}")
            else:
                yield f"{path}/{key} is unknown to Grafana"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for index, pair in enumerate(zip(given, kept)):
            yield from unknown(*pair, f"{path}/{index}")
    elif given != kept:
        yield f"{path}: {given!r} means {kept!r} to Grafana"


def schema(dashboard):
    try:
        read = Dashboard.from_json(dashboard)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"Grafana cannot read it: {error!r}"
        return
    yield from unknown(dashboard, json.loads(json.dumps(read, cls=encoder.JSONEncoder)))


def names(dashboard, known):
    for text in strings(dashboard):
        for name in METRIC.findall(text):
            if name not in known:
                yield f"{name} is no metric of certsieve"


def queries(dashboard):
    for panel in panels_of(dashboard):
        for target in panel.get("targets", []):
            expression = target.get("expr", "")
            # The longest first: $__range is a part of $__range_s.
            for variable in sorted(VARIABLES, key=len, reverse=True):
                expression = expression.replace(variable, VARIABLES[variable])
            yield panel.get("title"), expression


def data(dashboard, prometheus):
    for title, expression in queries(dashboard):
        address = f"{prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(address, timeout=QUERY_SECONDS) as answer:
                result = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            yield f"{title}: {json.load(error).get('error')}: {expression}"
            continue
        if not any(math.isfinite(float(series["value"][1])) for series in result):
            yield f"{title}: no data: {expression}"


def main(metrics, prometheus, *files):
    if not files:
        sys.exit(__doc__)
    with open(metrics, encoding="utf-8") as file:
        known = exported(file.read())
    plugins.register_default_plugins()
    uids, failed, asked = {}, False, 0
    for name in files:
        with open(name, encoding="utf-8") as file:
            dashboard = json.load(file)
        wrong = [*form(dashboard), *schema(dashboard), *dict.fromkeys(names(dashboard, known))]
        if other := uids.get(dashboard.get("uid")):
            wrong.append(f"it has the uid of {other}")
        uids[dashboard.get("uid")] = name
        asked += len(list(queries(dashboard)))
        if prometheus != "-":
            wrong += data(dashboard, prometheus)
        for line in wrong:
            print(f"{name}: {line}")
            failed = True
    if not failed:
        print(f"{len(files)} dashboards, {asked} queries: nothing wrong")
    return failed


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
