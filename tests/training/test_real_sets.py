"""Real CT: read by the code that serves, levels where they are known to be, labels beside bone and around the cord."""

from dataclasses import replace

import numpy as np
import pytest

from model.errors import UnusableVolume
from model.findings import Limitation, Vertebra
from tests.training.scripted_predictor import (
    SPACING_MM,
    ScriptedAnswer,
    ScriptedPredictor,
    findings_of,
    perfect,
    stack,
)
from training.evaluation.cord_sets import ScanError, in_order, judge_scan, measure_cords, read_scan, read_scans
from training.evaluation.judging import judge
from training.evaluation.real_sets import (
    RealVolume,
    SetUnavailable,
    bone_shares,
    judge_real,
    measure_real,
    named_right,
    read_head,
    read_neck,
)
from training.evaluation.semisynthetic_sets import broken_set, checked_labels


def known(levels=tuple(Vertebra)[:3]) -> RealVolume:
    """A stack of bars as if it were a real CT."""
    phantom = stack(levels)
    middles = {level: (10 * place + 5, 12, 12) for place, level in enumerate(levels)}
    return RealVolume("bars", phantom.hu, SPACING_MM, middles, held_out=True, warnings=(Limitation.GANTRY_TILT,))


def test_the_female_neck_is_read_with_its_levels_inside(shared_data):
    neck = read_neck(shared_data)
    assert neck.hu.shape == (134, 512, 512)
    assert neck.hu.min() == -1024
    assert neck.middles[Vertebra.C1] == (56, 231, 250)
    assert neck.held_out
    bone = [(neck.hu[w - 3 : w + 4, v - 3 : v + 4, u - 3 : u + 4] > 150).mean() for w, v, u in neck.middles.values()]
    assert min(bone) > 0.3


def test_the_head_is_read_once_its_air_is_where_air_belongs(shared_data):
    head = read_head(shared_data)
    assert head.spacing_mm == pytest.approx((0.5, 0.489, 0.489), abs=0.01)
    assert not head.held_out
    air = head.hu[(head.hu > -1024) & (head.hu < -600)]
    assert abs(float(np.median(air)) + 1000) < 60
    assert head.hu.min() == -1024
    bone = [(head.hu[w - 5 : w + 6, v - 5 : v + 6, u - 5 : u + 6] > 150).mean() for w, v, u in head.middles.values()]
    assert min(bone) > 0.3


def test_a_data_set_that_is_not_here_or_cannot_be_read_says_so(tmp_path):
    with pytest.raises(SetUnavailable, match="missing"):
        read_neck(tmp_path)
    folder = tmp_path / "visible-human-female-neck"
    folder.mkdir()
    (folder / "note.txt").write_text("no CT")
    with pytest.raises(SetUnavailable, match="cannot be read"):
        read_neck(tmp_path)


def test_right_names_at_known_middles_are_counted_and_others_are_not():
    volume = known()
    labels = stack((Vertebra.C1, Vertebra.C2, Vertebra.C4)).labels
    assert named_right(labels, volume) == {Vertebra.C1: 1.0, Vertebra.C2: 1.0, Vertebra.C3: 0.0}
    answer = ScriptedAnswer(labels, findings_of(labels, {Vertebra.C2: 0.7}), np.zeros_like(labels))
    result, _ = measure_real(ScriptedPredictor(lambda _: answer), volume)
    assert result.right == (Vertebra.C1, Vertebra.C2)
    assert result.wrongly_named == (Vertebra.C4,)
    assert result.alarms == (Vertebra.C2,)
    assert result.limitations == (Limitation.GANTRY_TILT,)
    assert judge_real(replace(volume, at_the_edge=frozenset({Vertebra.C4})), answer).wrongly_named == ()
    assert result.as_json()["named"]["C3"] == 0.0


def test_bone_without_a_label_counts_only_near_labels():
    hu = np.full((20, 40, 20), 40, dtype=np.int16)
    hu[5:15, 5:15, 5:15] = 700
    hu[5:15, 30:35, 5:15] = 700
    labels = np.zeros(hu.shape, dtype=np.uint8)
    labels[5:15, 5:10, 5:15] = 3
    dense, on_bone = bone_shares(hu, labels, (1.0, 1.0, 1.0))
    assert dense == pytest.approx(5 / 8)
    assert on_bone == 1.0
    assert bone_shares(hu, np.zeros_like(labels), (1.0, 1.0, 1.0)) == (0.0, 0.0)
    labels[5:15, 10:24, 5:15] = 3
    assert bone_shares(hu, labels, (1.0, 1.0, 1.0))[1] == pytest.approx(13 / 19)


def test_labels_with_a_wrong_name_are_not_broken():
    volume = known()
    labels = stack((Vertebra.C1, Vertebra.C2, Vertebra.C4)).labels
    assert set(np.unique(checked_labels(labels, volume))) == {0, 1, 2}


def test_every_type_that_fits_is_inserted_after_the_intact_ct():
    levels = (Vertebra.C3, Vertebra.C4)
    volume, labels = known(levels), stack(levels).labels
    chosen = broken_set(volume, labels)
    studies = list(chosen.studies)
    assert chosen.own_labels
    assert studies[0].name == "intact"
    assert studies[0].phantom.kinds == {}
    assert 4 < len(studies) <= chosen.count == 15
    for one in studies[1:]:
        ((level, kind),) = one.phantom.kinds.items()
        assert one.name.startswith(f"{level.name} {kind}")
        assert (one.phantom.labels[one.phantom.fracture] == level).all()
        assert not np.array_equal(one.phantom.hu, volume.hu)
        assert judge(one, perfect(one.phantom)).fractured
    assert np.array_equal(next(iter(broken_set(volume, labels).studies)).phantom.hu, studies[0].phantom.hu)


def scan_arrays(levels=tuple(Vertebra)) -> dict[str, np.ndarray]:
    """A scan as the sample stores it: bars of bone with a cord behind them, zero outside the body."""
    phantom = stack(levels)
    raw = (phantom.hu + 1024).astype(np.int16)
    raw[:, :, :2] = 0
    cord = np.zeros(raw.shape, dtype=np.bool_)
    cord[:, 18:20, 11:13] = True
    return {"ct_raw": raw, "SpinalCord": cord, "spacing_yxz": np.array([2.0, 2.0, 2.0])}


def written(folder, **changes):
    path = folder / "openkbp-sample" / "one.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{**scan_arrays(), **changes})
    return path


def test_a_scan_is_read_without_the_air_around_the_body(tmp_path):
    scan = read_scan(written(tmp_path, spacing_yxz=np.array([3.9, 3.8, 2.5])))
    assert scan.spacing_mm == (2.5, 3.9, 3.8)
    assert scan.hu.shape == scan.cord.shape == (70, 24, 22)
    assert scan.hu.min() == 40


@pytest.mark.parametrize(
    "changes",
    [
        {"ct_raw": np.zeros((4, 4), dtype=np.int16)},
        {"ct_raw": scan_arrays()["ct_raw"].astype(np.float32)},
        {"ct_raw": -scan_arrays()["ct_raw"]},
        {"SpinalCord": np.zeros((70, 24, 24), dtype=np.bool_)},
        {"SpinalCord": scan_arrays()["SpinalCord"][:, :, :5]},
        {"spacing_yxz": np.array([3.9, 0.0, 2.5])},
        {"spacing_yxz": np.array([3.9, 2.5])},
    ],
)
def test_a_file_that_is_no_scan_is_left_out_with_a_line(tmp_path, changes, caplog):
    path = written(tmp_path, **changes)
    with pytest.raises(ScanError, match=path.name):
        read_scan(path)
    assert list(read_scans(tmp_path)) == []
    assert "left out" in caplog.text


def test_what_is_no_array_file_or_lies_on_its_side_is_no_scan(tmp_path):
    path = written(tmp_path)
    turned = {key: value.transpose(1, 0, 2) for key, value in scan_arrays().items() if value.ndim == 3}
    np.savez(path, **turned, spacing_yxz=np.array([2.0, 2.0, 2.0]))
    with pytest.raises(ScanError, match="along the slices"):
        read_scan(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(ScanError, match="cannot be read"):
        read_scan(path)


def test_labels_around_the_cord_lie_in_the_tube_and_labels_elsewhere_do_not(tmp_path):
    scan = read_scan(written(tmp_path))
    labels = np.where(scan.hu > 500, stack().labels[:, :, 2:], 0).astype(np.uint8)
    right = judge_scan(scan, ScriptedAnswer(labels, findings_of(labels, {Vertebra.C1: 0.9}), labels))
    assert right.inside == 1.0
    assert 2 < right.distance_mm < 22
    assert right.in_order
    assert right.called == (Vertebra.C1,)
    far = replace(scan, spacing_mm=(2.0, 20.0, 20.0))
    assert judge_scan(far, ScriptedAnswer(labels, findings_of(labels, {}), labels)).inside < 0.2
    none = judge_scan(scan, ScriptedAnswer(labels * 0, findings_of(labels * 0, {}), labels))
    assert none.inside is None
    assert 0 < none.by_chance <= 1.0


def test_names_that_run_upwards_are_out_of_order():
    labels = stack().labels
    assert in_order(labels)
    assert not in_order(labels[::-1])
    assert in_order(np.zeros_like(labels))


def test_the_sample_is_summed_up_by_scans_and_alarms_are_no_specificity(tmp_path):
    assert measure_cords(ScriptedPredictor(lambda _: None), tmp_path) is None
    path = written(tmp_path)
    np.savez(path.with_name("two.npz"), **scan_arrays())
    np.savez(path.with_name("zzz.npz"), **scan_arrays())
    labels = stack().labels[:, :, 2:]
    alarm = ScriptedAnswer(labels, findings_of(labels, {Vertebra.C2: 0.9}), labels)
    answers = [alarm, ScriptedAnswer(labels, findings_of(labels, {}, [Limitation.COARSE_PIXELS]), labels)]

    def answer(_hu):
        if not answers:
            raise UnusableVolume("too coarse")
        return answers.pop(0)

    found = measure_cords(ScriptedPredictor(answer), tmp_path)
    assert (len(found.results), found.refused) == (2, 1)
    assert (found.alarms().hits, found.alarms().total) == (1, 14)
    assert found.scans_with_alarm().hits == found.limited().hits == 1
    assert found.levels_found().value == 7.0
    assert found.in_order().hits == 2
    text = str(found.as_json())
    assert "alarm_rate_levels" in text
    assert "specificity" not in text


def test_the_real_scans_run_from_head_to_feet_and_from_front_to_back(shared_data):
    scans = 0
    for path in sorted((shared_data / "openkbp-sample").glob("*.npz"))[:8]:
        scan = read_scan(path)
        assert np.median(scan.hu[scan.cord]) < 150
        with np.load(path) as stored:
            cord = np.argwhere(stored["SpinalCord"]).mean(axis=0)
            if "Brainstem" in stored.files:
                assert np.argwhere(stored["Brainstem"]).mean(axis=0)[0] < cord[0] - 10
                scans += 1
            if "Mandible" in stored.files:
                assert np.argwhere(stored["Mandible"]).mean(axis=0)[1] < cord[1] - 5
    assert scans >= 3
