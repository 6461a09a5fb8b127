"""Makes ms-swift read videos as the toolkit does; `--external_plugins` loads it."""

from tools.training.reader import register

register()
