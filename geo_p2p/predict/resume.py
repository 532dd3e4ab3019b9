"""Go on with what an earlier run has left, or begin anew; never throw it away unasked."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from geo_p2p.chips.chip import Source
from geo_p2p.errors import RasterError
from geo_p2p.predict.config import PredictConfig
from geo_p2p.predict.layout import Layout
from geo_p2p.predict.parts import Parts
from geo_p2p.predict.plan import Job, Model, brought_together
from geo_p2p.predict.recipes import differences
from geo_p2p.predict.shards import Shard

__all__ = ["Resumption", "as_begun"]

log = logging.getLogger(__name__)


def as_begun(model: Model, source: Source, config: PredictConfig, parts: Parts) -> Job:
    """Plan a job, in blocks of the size in which an earlier run of the model has begun it.

    A size that is asked for comes first, and nothing is taken over where to begin anew is.
    """
    model, _ = brought_together(model, source, config)
    if config.block_size is None and config.resume is not False:
        earlier = parts.recipe
        if earlier.get("model") == model.fingerprint:
            config = replace(config, block_size=earlier["plan"]["size"])
    return Job.of(model, source, config)


@dataclass(frozen=True)
class Resumption:
    """Whether a run may go on in a folder, and what becomes of what lies there.

    Parameters
    ----------
    parts : the folder, which is held.
    resume : True to go on or fail, False to begin anew, None to go on if the plan is the same.
    overwrite : whether unfinished work of another plan may be thrown away.
    shard : the share of this process; None for all.
    """

    parts: Parts
    resume: bool | None
    overwrite: bool
    shard: Shard | None

    def settle(self, job: Job, planned: Callable[[], Job]) -> Job:
        """Lay down the plan of a job, or join one that is the same.

        Parameters
        ----------
        job : what is to be done.
        planned : plans it again, as it is to be now that the folder has changed.

        Returns
        -------
        The job that the folder is for.

        Raises
        ------
        RasterError
            If the folder holds another plan, and that is not to be thrown away.
        """
        while True:
            recipe = job.recipe
            if self._keeps(recipe):
                layout = Layout.of(job, None if self.shard is None else self.shard.count)
                if self.parts.begin(recipe, layout):
                    break
            job = planned()
        if self.resume is False:
            self.parts.forget(list(self.shard.share(job.blocks)) if self.shard else job.blocks)
        return job

    def _keeps(self, recipe: dict[str, Any]) -> bool:
        """Whether the folder is empty, or of this plan; False if it has just been cleared."""
        parts = self.parts
        if not parts.used:
            if self.resume:
                raise RasterError(
                    f"{parts.folder}: there is no run to go on with; leave out resume"
                )
            return True
        earlier = parts.recipe
        if earlier == recipe:
            if self.resume is not False and parts.written():
                log.info("%s: going on with what an earlier run has finished", parts.folder)
            return True
        said = differences(earlier, recipe)
        if self.resume:
            raise RasterError(
                f"{parts.folder}: cannot be gone on with: {said}; say no-resume to begin anew"
            )
        if self.shard is not None:
            raise RasterError(
                f"{parts.folder}: holds blocks of another plan: {said}; remove that folder, which "
                "other shards may be at, or name another output"
            )
        if not (self.overwrite or self.resume is False):
            raise RasterError(
                f"{parts.folder}: holds unfinished work of another plan: {said}; say no-resume to "
                "throw it away, or name another output"
            )
        log.warning("%s: what an earlier run has left is thrown away: %s", parts.folder, said)
        parts.clear()
        return False
