"""Make or renew the index of one dataset, before anybody opens the viewer.

python -m visualize.index mine
"""

from collections.abc import Sequence

import pyarrow.parquet as pq

from tools.cli import add_data_root, add_dataset, run_script, script_parser
from tools.store.dataset import open_dataset
from visualize.index.index import DatasetIndex


def main(argv: Sequence[str] | None = None) -> None:
    """Make or renew the index of one dataset."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_data_root(parser)
    args = parser.parse_args(argv)
    index = DatasetIndex(open_dataset(args.dataset, args.data_root, whole=True))
    state = index.renew()
    rows = pq.read_metadata(index.folder / state.file("places")).num_rows
    print(f"{index.folder}: {rows} records of {len(state.survey.files)} files")


if __name__ == "__main__":
    run_script(main)
