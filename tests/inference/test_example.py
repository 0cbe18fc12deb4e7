"""The example record is what its description says, in a file that ObsPy reads back."""

import numpy as np
import obspy

from seismollm_jax.inference import example


def test_record_survives_the_file(tmp_path, capsys) -> None:
    path = tmp_path / "new folder" / "record.mseed"
    assert example.main(["--output", str(path)]) == 0
    assert str(path) in capsys.readouterr().out
    found = obspy.read(str(path)).sort()
    assert [trace.id for trace in found] == ["BW.RJOB..EHE", "BW.RJOB..EHN", "BW.RJOB..EHZ"]
    for trace, original in zip(found, obspy.read().sort(), strict=True):
        assert (trace.stats.sampling_rate, trace.stats.npts) == (100.0, 3000)
        assert trace.stats.starttime == original.stats.starttime
        np.testing.assert_array_equal(trace.data, original.data)


def test_a_path_that_cannot_be_written_is_named(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert example.main(["--output", str(tmp_path / "file" / "record.mseed")]) == 2
    assert "file" in capsys.readouterr().err
