"""Every study at scale `small`, as the documentation has it: two networks, 5,000 photographs.

    python benches/studies.py --images ZIP --out FOLDER [--only NAME …] [--docs]

Two networks (EfficientNet-Lite0; SqueezeNet 1.1, after `xdream weights get squeezenet1.1`), one after the
other. ZIP holds photographs called CATEGORY_NUMBER.*; of each category the first 25 by number are taken: of
Tiny ImageNet's training images 5,000 of 200 categories. `expressiveness`, whose figure shows photographs,
takes those of scikit-image. A study that was interrupted goes on. --docs writes the figures into
docs/images/studies, and claims and times into benches/results.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

from xdream.studies import STUDIES, drawing, report, table
from xdream.studies.study_folder import RESULT, SHARDS

PER_CATEGORY = 25


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--scale", default="small")
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    natural = options.out / "photographs.zip"
    if not natural.exists():
        subset(options.images, natural)
    for name in options.only:
        # What shows photographs shows free ones.
        references = "scikit-image" if name == "expressiveness" else str(natural)
        command = [sys.executable, "-m", "xdream.cli", "study", name, "--scale", options.scale]
        command += ["--references", references, "--out", str(options.out / name), "--quiet", "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        json.loads(done.stdout.splitlines()[-1])
        print(f"{name}: {seconds(options.out / name) / 60:.1f} min", flush=True)
    if options.docs:
        write_docs(options.out)


def subset(images: Path, out: Path) -> None:
    """The first photographs of each category, by number."""
    categories: dict[str, list[str]] = defaultdict(list)
    with zipfile.ZipFile(images) as archive:
        for name in archive.namelist():
            categories[Path(name).name.partition("_")[0]].append(name)
        partial = out.with_suffix(".partial")
        with zipfile.ZipFile(partial, "w") as small:
            for names in categories.values():
                names.sort(key=lambda name: int(Path(name).stem.partition("_")[2]))
                for name in names[:PER_CATEGORY]:
                    small.writestr(name, archive.read(name))
    partial.replace(out)


def seconds(folder: Path) -> float:
    """What a study's shards took, one after the other (the last process of each)."""
    rows = [row for path in (folder / SHARDS).glob(f"*/{RESULT}") for row in table.read(path).rows]
    return sum(row.value for row in rows if row.measure == table.TIME)


def write_docs(out: Path) -> None:
    """Figures, claims, reports, times."""
    figures, results = Path("docs/images/studies"), Path("benches/results")
    figures.mkdir(parents=True, exist_ok=True)
    findings, times = [], []
    for name, study in STUDIES.items():
        if not (out / name / "table.csv").exists():
            continue
        found = table.read(out / name / "table.csv")
        drawing.draw(study, found_without_photographs(name, found), figures / f"{name}.png")
        (results / f"study-{name}.md").write_text(report.markdown(study, found))
        findings += list(study.findings(found))
        presentations = sum(row.value for row in found.where(measure="presentations").rows)
        times.append([name, f"{presentations:.0f}", f"{seconds(out / name) / 60:.1f}"])
    (results / "studies-claims.csv").write_text(report.claims_csv(findings))
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["study", "presentations", "minutes"])
    lines.writerows(times)
    (results / "studies-times.csv").write_text(text.getvalue())
    (results / "studies-claims.md").write_text("\n".join(report.claims_table(findings)) + "\n")


def found_without_photographs(name: str, found: table.Table) -> table.Table:
    """The best natural images of the overview are of whoever took them, and not to be shown here."""
    return table.Table(row for row in found.rows if (name, row.measure) != ("overview", "natural image"))


if __name__ == "__main__":
    main()
