"""Stage 3: thirteen whole-video captions a video, from its clip captions in right and wrong
order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from inference.captioner import Answer, Captioner, Request, Sampling, answer_groups, request_seed
from inference.workload import Workload, estimate
from tools.errors import Filtered
from tools.pairs.perturbation import Config, Selection, equivalence, select
from tools.runner.step import Step
from tools.store.dataset import Dataset
from tools.store.jsonl import Record
from tools.text.answers import parse_response
from tools.text.faults import answer_fault
from tools.text.prompts import DEFAULT, Prompts, fingerprint, response_messages


@dataclass
class ResponsesStep(Step):
    """Perturb the list of clip captions, and have each list joined into one paragraph.

    Configurations that select the same clips in the same order are one request: its answer
    stands in the file of each of them, with `info.same_as` naming the one it was asked for.
    """

    dataset: Dataset
    captioner: Captioner
    configs: list[Config]
    sampling: Sampling
    seed: int = 0
    iteration: int = 0
    prompts: Prompts = DEFAULT
    rate: float | None = None  # requests a second, for the estimate alone

    name = "responses"
    revision = 2

    def __post_init__(self) -> None:
        model = self.captioner.name
        self.reads = self.dataset.table(f"clip_captions_{model}")
        self.writes = tuple(
            self.dataset.responses(model, config.name, self.iteration) for config in self.configs
        )
        self.batch_size = max(1, self.captioner.batch_size // len(self.configs))

    def limits(self) -> dict[str, str]:
        return {"cut_off": "--max_new_tokens sets the limit: give more with --redo responses"}

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "sampling": self.sampling.as_dict(),
            "prompt": fingerprint(self.prompts.response),
            "seed": self.seed,
        }

    def workload(self, left: Iterable[tuple[Record, tuple[str, ...]]]) -> str:
        return estimate(left, self._workload_of, self.rate)

    def _workload_of(self, record: Record, names: tuple[str, ...]) -> Workload:
        selections = self._selections(record)
        indices = {n: s.indices for n, s in selections.items() if isinstance(s, Selection)}
        asked_as = equivalence(indices)
        sizes = [len(caption.encode()) for caption in record["clip_captions"]]
        once = {asked_as[name] for name in names if name in asked_as}
        text = sum(sizes[index] for name in once for index in indices[name])
        return Workload(videos=1, requests=len(once), text=text)

    def check(self, device: str) -> None:
        self.captioner.check(device, self.sampling, frames=0)

    def setup(self, device: str, threads: int) -> None:
        self.captioner.load(device, threads)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Make each record's rows, one a configuration that wants one."""
        plans = []
        for record, names in zip(records, wanted, strict=True):
            selections = self._selections(record)
            indices = {n: s.indices for n, s in selections.items() if isinstance(s, Selection)}
            asked_as = equivalence(indices)
            once = dict.fromkeys(asked_as[name] for name in names if name in asked_as)
            requests = {name: self._request(record, name, indices[name]) for name in once}
            plans.append((selections, asked_as, requests))

        groups = ((position, list(plan[-1].values())) for position, plan in enumerate(plans))
        for position, answers in answer_groups(self.captioner, groups, self.sampling):
            selections, asked_as, requests = plans[position]
            by_name = dict(zip(requests, answers, strict=True))
            rows = {
                name: self._row(
                    records[position], name, selections[name], asked_as.get(name, name), by_name
                )
                for name in wanted[position]
            }
            yield position, rows

    def _row(
        self,
        record: Record,
        name: str,
        selection: Selection | Filtered,
        asked_as: str,
        answers: dict[str, Answer | Exception],
    ) -> Record | Exception:
        """What becomes of one configuration: a row, or why there is none, or none of use."""
        if isinstance(selection, Filtered):
            return selection
        answer = answers[asked_as]
        if isinstance(answer, Exception):
            return answer
        info = {
            "selected_indices": selection.indices,
            "block_size": selection.block_size,
            "finish_reason": answer.finish_reason,
            "sampling": self.sampling.as_dict(),
        }
        if asked_as != name:
            info["same_as"] = asked_as
        row = {
            "video_id": record["video_id"],
            "video_path": record["video_path"],
            "frame_indices": record["frame_indices"],
            "response": answer.text,
            "info": info,
        }
        fault = answer_fault(answer.text, parse_response(answer.text), answer.finish_reason)
        return Filtered(fault, row) if fault else row

    def _selections(self, record: Record) -> dict[str, Selection | Filtered]:
        selections: dict[str, Selection | Filtered] = {}
        for config in self.configs:
            try:
                selections[config.name] = select(
                    config,
                    len(record["clip_captions"]),
                    self.seed,
                    record["video_id"],
                    record.get("clip_similarity"),
                    record.get("merged_groups"),
                )
            except Filtered as reason:
                video = {key: record[key] for key in ("video_id", "video_path")}
                selections[config.name] = Filtered(str(reason), video)
        return selections

    def _request(self, record: Record, name: str, indices: list[int]) -> Request:
        captions = [record["clip_captions"][index] for index in indices]
        return Request(
            response_messages(captions, self.prompts),
            request_seed(self.seed, record["video_id"], name),
        )
