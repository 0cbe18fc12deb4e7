"""Events in progress, of an archive: station-days together are the whole record."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from obspy import UTCDateTime

import seismollm_jax as sj
from seismollm_jax.inference.archive import run as archive
from seismollm_jax.inference.archive.run import Job
from tests import setups
from tests.inference import archives
from tests.inference.archives import MIDNIGHT

NAME = "detections"


def test_detections_of_all_days(tmp_path: Path) -> None:
    changes = {"options.form": "detection", "precision.matmul": "highest"}
    setups.save_random(tmp_path / "run", setups.config("picking", changes=changes))
    predictor = sj.load(tmp_path / "run", batch_size=16, p_threshold=0.5, s_threshold=0.5)
    record = archives.record("XX.ONE", MIDNIGHT - 60, 120, 0)
    archives.write_sds(tmp_path / "sds", [record])
    curve = predictor.annotate(record).select(channel="*_D_*")[0]
    chosen = {"detection_threshold": float(np.quantile(curve.data, 0.7))}
    whole = predictor.classify(record, **chosen)

    said: list[str] = []
    job = Job(
        inputs=(str(tmp_path / "sds"),), output=tmp_path / "out", parquet=True, options=chosen
    )
    assert archive.run(predictor, job, said.append).done == 2
    assert f"{len(whole.detections)} detections in {tmp_path}/out/detections.csv" in said
    found = pd.read_csv(tmp_path / f"out/{NAME}.csv")
    assert len(found) == len(whole.detections) > 10
    for row, one in zip(found.itertuples(), whole.detections, strict=True):
        assert row.trace_id == one.trace_id
        assert abs(UTCDateTime(row.start_time) - one.start_time) < 1e-4
        assert abs(UTCDateTime(row.end_time) - one.end_time) < 1e-4  # also over midnight
        assert row.probability == pytest.approx(one.peak_value, abs=1e-4)
    days = [
        pd.read_csv(tmp_path / f"out/{NAME}/XX.ONE/{day}.csv") for day in ("2019-365", "2020-001")
    ]
    assert days[0]["start_time"].max() < MIDNIGHT.isoformat() <= days[1]["start_time"].min()
    columns = pd.read_parquet(tmp_path / f"out/{NAME}.parquet")
    assert (columns["end_time"] == pd.to_datetime(found["end_time"])).all()
    lines = (tmp_path / "out/manifest.jsonl").read_text().splitlines()
    assert [json.loads(line)[NAME] for line in lines] == [len(day) for day in days]

    assert archive.run(predictor, job, said.append).done == 0
    (tmp_path / f"out/{NAME}/XX.ONE/2019-365.csv").unlink()
    assert archive.run(predictor, job, said.append).done == 1
    other = Job(inputs=job.inputs, output=job.output, options={"detection_threshold": 0.9})
    with pytest.raises(
        ValueError, match=r"other settings.*\noptions: .*'detection_threshold': 0.9"
    ):
        archive.run(predictor, other, said.append)
