"""The two pipelines: the edges of each photograph, and a montage of all edges.

As functions they run by ``python edges.py``, by Dagster and by Airflow.
"""

import os

from sobel import draw_edges, draw_sheet

import versioned_io as vio


@vio.pipeline("edges", inputs=vio.glob("photographs@main", "/(*).{png,jpg}"), output="edges@main")
def edges(datum: vio.Datum, out: vio.DatumOutput) -> None:
    """Draw the edges of one photograph."""
    photograph = datum["photographs"]
    out.write(f"{photograph.captures[0]}.png", draw_edges(photograph.read()))


@vio.pipeline("montage", inputs=vio.glob("edges@main", "/"), output="montage@main")
def montage(datum: vio.Datum, out: vio.DatumOutput) -> None:
    """Draw all edges on one sheet."""
    out.write("montage.png", draw_sheet(picture.read() for picture in datum["edges"]))


def main() -> None:
    """Run both, and print what was done."""
    with vio.open_store(os.environ.get("VERSIONED_STORE", "store")) as store:
        for pipeline in (edges, montage):
            store.create_repo(pipeline.output.repo, exist_ok=True)
            run = store.pipeline(pipeline).run()
            print(pipeline.name, run.state, dict(run.counts))


if __name__ == "__main__":
    main()
