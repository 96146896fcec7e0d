"""The engine's Prometheus counters, kept by vLLM's rules and written in its text form.

A prompt is counted when its first token is made, once for each of its n sequences; tokens are counted as they
are made, aborted calls' too; `request_success` counts finished sequences only, aborts never.
"""

import os
import resource

FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")

# Of every counter: its name, and what HELP says.
_COUNTERS = (
    ("prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens."),
    ("prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens."),
    ("num_preemptions", "Cumulative number of preemption from the engine."),
    ("prompt_tokens", "Number of prefill tokens processed."),
    ("prompt_tokens_cached", "Number of cached prompt tokens."),
    ("generation_tokens", "Number of generation tokens processed."),
)
_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class ModelCounters:
    """The counters of one model; added to from the hot path."""

    __slots__ = (
        "finished",
        "finished_generation_tokens",
        "finished_prompt_tokens",
        "generation_tokens",
        "num_preemptions",
        "num_requests_running",
        "num_requests_waiting",
        "prefix_cache_hits",
        "prefix_cache_queries",
        "prompt_tokens",
        "prompt_tokens_cached",
        "rejected",
    )

    def __init__(self) -> None:
        self.num_requests_running = self.num_requests_waiting = self.num_preemptions = self.rejected = 0
        self.prompt_tokens = self.prompt_tokens_cached = self.generation_tokens = 0
        self.prefix_cache_queries = self.prefix_cache_hits = 0
        self.finished = dict.fromkeys(FINISH_REASONS, 0)
        self.finished_prompt_tokens = Histogram()
        self.finished_generation_tokens = Histogram()

    def prefilled(self, prompt_tokens: int, cached_tokens: int) -> None:
        """A sequence made its first token."""
        self.prompt_tokens += prompt_tokens
        self.prompt_tokens_cached += cached_tokens
        self.prefix_cache_queries += prompt_tokens
        self.prefix_cache_hits += cached_tokens

    def sequence_finished(self, reason: str, prompt_tokens: int, generated_tokens: int) -> None:
        self.finished[reason] += 1
        self.finished_prompt_tokens.add(prompt_tokens)
        self.finished_generation_tokens.add(generated_tokens)


class Histogram:
    """Counts by upper bound; finished requests only, as in vLLM."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0

    def add(self, value: int) -> None:
        at = next((at for at, bound in enumerate(_BUCKETS) if value <= bound), len(_BUCKETS))
        self.counts[at] += 1
        self.total += value


class Metrics:
    """All models' counters and their text."""

    def __init__(self, models: tuple[str, ...], started_s: float) -> None:
        self.models = {model: ModelCounters() for model in models}
        self._started_s = started_s

    def render(self) -> bytes:
        """The exposition text."""
        lines = self._process()
        for name, text in (
            ("num_requests_running", "Number of requests in model execution batches."),
            ("num_requests_waiting", "Number of requests waiting to be processed."),
        ):
            self._family(lines, name, text, "gauge", {m: getattr(c, name) for m, c in self.models.items()})
        self._family(
            lines,
            "kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            "gauge",
            dict.fromkeys(self.models, 0),
        )
        for name, text in _COUNTERS:
            values = {model: getattr(counters, name) for model, counters in self.models.items()}
            self._family(lines, f"{name}_total", text, "counter", values)
            self._family(lines, f"{name}_created", text, "gauge", dict.fromkeys(self.models, self._started_s))
        self._by_source(lines)
        self._request_success(lines)
        self._rejections(lines)
        for model, counters in self.models.items():
            self._histogram(lines, model, "request_prompt_tokens", counters.finished_prompt_tokens)
            self._histogram(lines, model, "request_generation_tokens", counters.finished_generation_tokens)
        return ("\n".join(lines) + "\n").encode()

    def _process(self) -> list[str]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return [
            "# HELP process_resident_memory_bytes Resident memory size in bytes.",
            "# TYPE process_resident_memory_bytes gauge",
            f"process_resident_memory_bytes {used.ru_maxrss * 1024.0}",
            "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.",
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self._started_s}",
            "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.",
            "# TYPE process_cpu_seconds_total counter",
            f"process_cpu_seconds_total {sum(os.times()[:2])}",
        ]

    @staticmethod
    def _family(lines: list[str], name: str, text: str, kind: str, values: dict[str, float]) -> None:
        lines += (f"# HELP vllm:{name} {text}", f"# TYPE vllm:{name} {kind}")
        lines += (
            f'vllm:{name}{{engine="0",model_name="{model}"}} {float(value)}'
            for model, value in values.items()
        )

    def _by_source(self, lines: list[str]) -> None:
        name, text = "prompt_tokens_by_source", "Number of prompt tokens by source."
        lines += (f"# HELP vllm:{name}_total {text}", f"# TYPE vllm:{name}_total counter")
        for model, counters in self.models.items():
            cached = counters.prompt_tokens_cached
            for source, value in (
                ("local_compute", counters.prompt_tokens - cached),
                ("local_cache_hit", cached),
                ("external_kv_transfer", 0),
            ):
                lines.append(
                    f'vllm:{name}_total{{engine="0",model_name="{model}",source="{source}"}} {float(value)}'
                )

    def _request_success(self, lines: list[str]) -> None:
        name, text = "request_success", "Count of successfully processed requests."
        for suffix, kind in (("total", "counter"), ("created", "gauge")):
            lines += (f"# HELP vllm:{name}_{suffix} {text}", f"# TYPE vllm:{name}_{suffix} {kind}")
            for model, counters in self.models.items():
                for reason in FINISH_REASONS:
                    value = self._started_s if suffix == "created" else float(counters.finished[reason])
                    labels = f'engine="0",finished_reason="{reason}",model_name="{model}"'
                    lines.append(f"vllm:{name}_{suffix}{{{labels}}} {value}")

    def _rejections(self, lines: list[str]) -> None:
        name, text = (
            "admission_rejections_total",
            "Number of admission attempts rejected by a queue limit, by reason.",
        )
        lines += (f"# HELP vllm:{name} {text}", f"# TYPE vllm:{name} counter")
        for model, counters in self.models.items():
            labels = f'model_name="{model}",reason="max_num_queued_reqs"'
            lines.append(f"vllm:{name}{{{labels}}} {float(counters.rejected)}")

    @staticmethod
    def _histogram(lines: list[str], model: str, name: str, histogram: Histogram) -> None:
        lines += (f"# HELP vllm:{name} Of finished requests.", f"# TYPE vllm:{name} histogram")
        running = 0
        for bound, count in zip((*map(float, _BUCKETS), "+Inf"), histogram.counts, strict=True):
            running += count
            lines.append(
                f'vllm:{name}_bucket{{engine="0",le="{bound}",model_name="{model}"}} {float(running)}'
            )
        lines.append(f'vllm:{name}_count{{engine="0",model_name="{model}"}} {float(running)}')
        lines.append(f'vllm:{name}_sum{{engine="0",model_name="{model}"}} {float(histogram.total)}')
