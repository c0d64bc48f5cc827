"""``python -m training prepare``: sources in, the folder of all other commands out, nothing lost on the way."""

import re
import resource
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from model.findings import Vertebra
from model.preprocess import PreprocessConfig
from model.preprocess import prepare as serve
from tests.training.prepared_necks import Necks, dies_of_the_third, neck, neck_study, six_necks
from tests.training.trees import SmallAnatomy, TreeStudy, rsna_uid, write_rsna
from training.commands.prepare import prepare as command
from training.config import load_config
from training.datasets.data_sets import DataSetKind, DataSourceConfig, open_data_set
from training.datasets.studies import DataSetError
from training.fitting.crop_sampler import read_shard
from training.preparation.prepare import PROBLEMS_FILE, prepare
from training.preparation.prepare_check import Estimate, require_room
from training.preparation.prepare_config import PrepareConfig
from training.preparation.prepare_plan import make_plan
from training.preparation.prepared import Split, read_field, read_prepared
from training.preparation.split_file import SPLIT_FILE


@pytest.fixture
def config(tmp_path):
    return PrepareConfig(tmp_path / "prepared", validation_share=0.3, test_share=0.3, find_levels=False)


def contents(folder) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def arrays(folder) -> dict[str, bytes]:
    """Every prepared file of a folder; times in the archives of crops differ, so that these are read."""
    found = contents(folder)
    for name in found:
        if name.endswith(".npz"):
            with np.load(folder / name) as stored:
                found[name] = b"".join(stored[key].tobytes() for key in sorted(stored.files))
    return found


def test_every_study_is_there_as_serving_would_see_it_with_its_truth(config):
    summary = prepare(config, [six_necks()])
    assert summary.studies == dict.fromkeys(Split, 2)
    assert summary.new == 6
    prepared = read_prepared(config.output)
    task = next(task for task in make_plan(config, [six_necks()]).tasks if task.study.key == "1.2.840.3")
    study = next(study for study in prepared.studies if study.name == task.name)
    values, labels = read_field(prepared.field_file(study))
    served = serve(neck(3).hu, neck(3).spacing_mm, PreprocessConfig())
    assert values.tobytes() == served.field.tobytes()
    assert np.unique(labels).tolist() == list(range(8))
    assert study.fractures == {level: level in {2, 5} for level in Vertebra}
    assert (study.own_labels, study.site, study.kinds[Vertebra.C5]) == (True, "site A", "burst")
    [path] = [path for path in prepared.crop_files(study.split) if path.stem == study.name]
    cases = read_shard(path)
    assert [case.level for case in cases] == list(range(1, 8))
    assert [case.kind for case in cases] == ["", "burst", "", "", "burst", "", ""]
    assert not cases[1].masked
    assert cases[0].masked


def test_settings_and_split_are_saved_beside_the_studies_and_nothing_names_a_patient(config):
    prepare(config, [six_necks()])
    assert load_config(PrepareConfig, config.output / "config.toml") == config
    assert len((config.output / SPLIT_FILE).read_text().splitlines()) == 7
    assert not any((config.output / "unfinished").iterdir())
    for name, content in contents(config.output).items():
        assert not re.search(r"SMITH|1\.2\.840", name), name
        assert not re.search(rb"SMITH|1\.2\.840", content), name


def test_a_run_goes_on_where_it_was_interrupted_with_the_same_result(config):
    def interrupt(study):
        if study.key == "1.2.840.4":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, [replace(six_necks(), reading=interrupt)])
    assert len(read_prepared(config.output).studies) == 3
    again = six_necks()
    assert prepare(config, [again]).new == 3
    assert again.read_keys == ["1.2.840.4", "1.2.840.5", "1.2.840.6"]
    whole = replace(config, output=config.output.with_name("whole"))
    prepare(whole, [six_necks()])
    interrupted, uninterrupted = arrays(config.output), arrays(whole.output)
    assert interrupted.pop("config.toml") != uninterrupted.pop("config.toml")
    assert interrupted == uninterrupted


def broken(*keys):
    def fail(study):
        if study.key in keys:
            raise DataSetError(f"slice 7 of {study.key} is broken: download it again")

    return fail


def test_a_study_that_cannot_be_read_costs_itself_alone_and_the_run_says_which(config):
    with pytest.raises(DataSetError) as caught:
        prepare(config, [replace(six_necks(), reading=broken("1.2.840.2", "1.2.840.5"))])
    assert "slice 7 of 1.2.840.2 is broken" in str(caught.value)
    assert "slice 7 of 1.2.840.5 is broken" in str(caught.value)
    assert "--skip-unreadable" in str(caught.value)
    assert len(read_prepared(config.output).studies) == 4
    repaired = six_necks()
    prepare(config, [repaired])
    assert sorted(repaired.read_keys) == ["1.2.840.2", "1.2.840.5"]
    assert not (config.output / PROBLEMS_FILE).exists()


def test_unreadable_studies_can_be_left_out_and_are_recorded(config):
    data_set = replace(six_necks(), reading=broken("1.2.840.2"))
    summary = prepare(replace(config, skip_unreadable=True, allow_missing_class=True), [data_set])
    assert summary.left_out == ("necks 1.2.840.2",)
    assert "1.2.840.2,slice 7" in (config.output / PROBLEMS_FILE).read_text()
    assert len(read_prepared(config.output).studies) == 5


def test_a_class_that_unreadable_studies_took_from_a_split_is_missed(config):
    splits = {task.study.key: task.split for task in make_plan(config, [six_necks()]).tasks}
    lost = [key for key, split in splits.items() if split is Split.TEST]
    with pytest.raises(DataSetError, match="the test split is empty"):
        prepare(replace(config, skip_unreadable=True), [replace(six_necks(), reading=broken(*lost))])


@pytest.mark.parametrize("error", [OSError(5, "Input/output error", "slice 9.dcm"), MemoryError()])
def test_what_a_disk_or_memory_says_of_one_study_is_told_of_it(config, error):
    def fail(study):
        if study.key == "1.2.840.1":
            raise error

    with pytest.raises(DataSetError, match=r"necks 1\.2\.840\.1.*(slice 9\.dcm|fewer processes)"):
        prepare(config, [replace(six_necks(), reading=fail)])
    assert len(read_prepared(config.output).studies) == 5


@pytest.fixture
def small_disk():
    """Lets no file of this process grow beyond some bytes, which is refused as a full disk is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_run_with_nothing_half_written_and_it_goes_on_later(config, small_disk):
    data_set = six_necks()
    data_set.reading = lambda study: small_disk(100_000) if study.key == "1.2.840.3" else None
    with pytest.raises(DataSetError, match=r"2 of 6 studies are prepared") as caught:
        prepare(config, [data_set])
    assert f"{config.output} cannot be written (File too large): free some space" in str(caught.value)
    assert data_set.read_keys == ["1.2.840.1", "1.2.840.2", "1.2.840.3"]
    prepared = read_prepared(config.output)
    names = {study.name for study in prepared.studies}
    assert len(names) == 2
    assert {path.name.split(".")[0] for path in (config.output / "fields").iterdir()} == names
    assert not any((config.output / "unfinished").iterdir())
    small_disk(resource.RLIM_INFINITY)
    assert prepare(config, [six_necks()]).new == 4


def test_a_disk_that_is_full_while_a_study_is_read_is_not_taken_for_a_broken_study(config):
    full = OSError(28, "No space left on device")

    def fill(study):
        raise OSError("With tag (7FE0,0010) got exception") from full

    with pytest.raises(DataSetError, match=r"its disk is full.*0 of 6 studies are prepared"):
        prepare(replace(config, skip_unreadable=True), [replace(six_necks(), reading=fill)])


def test_a_disk_that_is_full_from_the_start_says_so(config, small_disk):
    small_disk(10)
    with pytest.raises(DataSetError, match="cannot be written"):
        prepare(config, [six_necks()])


def test_a_study_whose_truth_changed_is_prepared_again_and_another_site_only_noted(config):
    prepare(config, [six_necks()])
    data_set = six_necks()
    data_set.shown[0] = neck_study(1, [Vertebra.C3])
    data_set.shown[1] = replace(data_set.shown[1], site="site B")
    summary = prepare(config, [data_set])
    assert (summary.new, data_set.read_keys) == (1, ["1.2.840.1"])
    studies = read_prepared(config.output).studies
    assert [study.site for study in studies].count("site B") == 1
    assert sum(study.fractures[Vertebra.C3] for study in studies) == 1


def test_a_study_that_its_source_leaves_out_is_put_aside_and_comes_back_unread(config):
    prepare(config, [six_necks()])
    allowing = replace(config, allow_missing_class=True)
    prepare(allowing, [Necks(six_necks().shown[1:])])
    assert len(read_prepared(config.output).studies) == 5
    again = six_necks()
    prepare(allowing, [again])
    assert len(read_prepared(config.output).studies) == 6
    assert again.read_keys == []


def test_the_same_volume_of_two_patients_in_two_splits_fails_until_the_split_is_repaired(config):
    splits = {task.study.key: task for task in make_plan(config, [six_necks()]).tasks}
    test = next(task for task in splits.values() if task.split is Split.TEST)
    train = next(task for task in splits.values() if task.split is Split.TRAIN)
    copies = {test.study.key: int(train.study.key.rsplit(".", 1)[1])}
    with pytest.raises(DataSetError) as caught:
        prepare(config, [replace(six_necks(), seeds=copies)])
    assert f"{test.name} ({test.study.key}) of test" in str(caught.value)
    assert "the same pixels" in str(caught.value)
    table = config.output / SPLIT_FILE
    table.write_text(re.sub(rf"({test.name},.*,)test,", r"\1train,", table.read_text()))
    data_set = replace(six_necks(), seeds=copies)
    summary = prepare(replace(config, allow_missing_class=True), [data_set])
    assert data_set.read_keys == []
    assert summary.studies[Split.TRAIN] == 3


def test_a_published_split_is_honored(config, tmp_path):
    published = tmp_path / "published.csv"
    words = ["test", "test", "train", "train", "val", "val"]
    rows = "".join(f"1.2.840.{number},{word}\n" for number, word in enumerate(words, start=1))
    published.write_text("study,split\n" + rows)
    prepare(replace(config, split_file=published), [six_necks()])
    studies = read_prepared(config.output).of(Split.TEST)
    names = {
        task.name for task in make_plan(config, [six_necks()]).tasks if task.study.key in {"1.2.840.1", "1.2.840.2"}
    }
    assert {study.name for study in studies} == names


def test_a_source_for_the_test_alone_is_measured_on_and_never_trained_on(config, tmp_path):
    far = DataSourceConfig(DataSetKind.NIFTI, tmp_path, name="far", test_only=True)
    outside = [neck_study(number, [Vertebra.C1] * (number % 2)) for number in range(7, 12)]
    plan = make_plan(replace(config, sources=(far,)), [six_necks(), Necks(outside, "far")])
    assert {task.split for task in plan.tasks if task.data_set == "far"} == {Split.TEST}
    assert {task.split for task in plan.tasks if task.data_set == "necks"} >= {Split.TRAIN, Split.VALIDATION}


def test_a_published_split_of_another_data_set_is_refused(config, tmp_path):
    published = tmp_path / "published.csv"
    published.write_text("study,split\n9.9,test\n")
    with pytest.raises(DataSetError, match="names none of the 6 studies"):
        make_plan(replace(config, split_file=published), [six_necks()])


def test_two_runs_do_not_work_in_one_folder(config):
    def second(_study):
        with pytest.raises(DataSetError, match="another `prepare` works"):
            prepare(config, [six_necks()])

    data_set = Necks(six_necks().shown[:1], reading=second)
    prepare(replace(config, allow_missing_class=True), [data_set])
    assert data_set.read_keys == ["1.2.840.1"]


def test_a_folder_of_something_else_is_not_written_into(config):
    config.output.mkdir()
    (config.output / "thesis.txt").write_text("mine")
    with pytest.raises(DataSetError, match="not empty and no prepared folder"):
        prepare(config, [six_necks()])
    assert contents(config.output) == {"thesis.txt": b"mine"}


class Refused(Necks):
    """A data set with something wrong."""

    def studies(self):
        raise DataSetError(f"{self.name}/train.csv has no row for study 7")


@pytest.mark.parametrize(
    ("data_sets", "named"),
    [
        ([], ["nothing to prepare", "--from-reviews"]),
        ([six_necks(), six_necks()], ["2 sources are called necks"]),
        ([Necks([neck_study(1), neck_study(1)])], ["necks: 2 studies are called 1.2.840.1"]),
        ([Necks([]), Refused([], "far"), Refused([], "near")], ["necks has no studies", "far/train", "near/train"]),
        ([Necks(six_necks().shown[:2])], ["the test split is empty"]),
    ],
)
def test_everything_that_is_wrong_with_sources_is_told_before_anything_is_read(config, data_sets, named):
    with pytest.raises(DataSetError) as caught:
        prepare(config, data_sets)
    assert all(word in str(caught.value) for word in named)
    assert not config.output.exists()


def tree(folder, count=6):
    """An RSNA tree of coarse necks, the first half of them fractured."""
    studies = []
    for number in range(1, count + 1):
        made = neck(number)
        anatomy = SmallAnatomy(made.hu, np.where(made.labels <= 8, made.labels, 0).astype(np.uint8), made.spacing_mm)
        fractured = frozenset({Vertebra.C2}) if number <= count // 2 else frozenset()
        studies.append(TreeStudy(rsna_uid(number), anatomy, fractured))
    return write_rsna(folder, studies)


@pytest.fixture(scope="module")
def rsna(tmp_path_factory):
    return tree(tmp_path_factory.mktemp("rsna"))


def test_several_processes_prepare_what_one_does(config, rsna):
    source = DataSourceConfig(DataSetKind.RSNA, rsna)
    two = replace(config, sources=(source,), processes=2)
    seen = []
    summary = prepare(two, [open_data_set(source)], lambda outcome, count: seen.append((outcome.called, count)))
    assert summary.new == 6
    assert sorted(seen) == [(f"rsna {rsna_uid(number)}", 6) for number in range(1, 7)]
    one = replace(config, output=config.output.with_name("one"), sources=(source,))
    prepare(one, [open_data_set(source)])
    ours, theirs = arrays(two.output), arrays(one.output)
    assert ours.pop("config.toml") != theirs.pop("config.toml")
    assert ours == theirs


def test_a_process_that_is_killed_ends_the_run_and_what_is_done_stays(config):
    data_set = replace(six_necks(), reading=dies_of_the_third)
    with pytest.raises(DataSetError, match="fewer processes, then run the same command again"):
        prepare(replace(config, processes=2), [data_set])
    done = len(read_prepared(config.output).studies)
    assert prepare(config, [six_necks()]).new == 6 - done


def run(*arguments) -> tuple[int, str]:
    answer = CliRunner().invoke(command, [str(argument) for argument in arguments])
    return answer.exit_code, answer.output


def written(folder, rsna, more="") -> list[str]:
    path = folder / "prepare.toml"
    path.write_text(
        "validation_share = 0.3\ntest_share = 0.3\nfind_levels = false\n"
        f'output = "out"\n{more}\n[[sources]]\nkind = "rsna"\nfolder = "{rsna}"\n'
    )
    return ["--config", str(path)]


def test_the_command_prepares_and_says_what_it_did(tmp_path, rsna):
    code, output = run(*written(tmp_path, rsna))
    assert code == 0, output
    assert f"{tmp_path / 'out'}: 2 train, 2 validation, 2 test (6 of them new); no leak between splits" in output
    assert "Note: the test split has no fracture of C1" in output
    code, output = run(*written(tmp_path, rsna))
    assert "(0 of them new)" in output


def test_check_only_reads_one_study_tells_the_cost_and_leaves_nothing(tmp_path, rsna):
    code, output = run(*written(tmp_path, rsna), "--check-only")
    assert code == 0, output
    assert "artifact removal:" in output
    assert re.search(r"rsna +train +2 +2 +1 +1 +2\n", output)
    assert re.search(r"Judged by one study, all 6 take about .* GB of disk .* GB of memory and \d+ seconds", output)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_too_small_for_all_studies_is_told_before_hours_of_work(tmp_path):
    require_room(Estimate(2000, 900.0, 100.0, 1.0, free_mb=1000.0), tmp_path)
    with pytest.raises(DataSetError, match=r"will need about 60\.0 GB, and its disk has 1\.0 GB free"):
        require_room(Estimate(2000, 60_000.0, 100.0, 1.0, free_mb=1000.0), tmp_path)


def test_a_study_that_cannot_be_read_ends_the_command_with_its_file(tmp_path):
    folder = tree(tmp_path / "rsna", 2)
    path = min((folder / "train_images" / rsna_uid(1)).iterdir())
    path.write_bytes(path.read_bytes()[:-4000])
    code, output = run(*written(tmp_path, folder, "allow_missing_class = true"))
    assert code == 1
    assert path.name in output
    code, output = run(*written(tmp_path, folder, "allow_missing_class = true"), "--skip-unreadable")
    assert code == 0, output
    assert f"Left out, because they cannot be read (problems.csv): rsna {rsna_uid(1)}" in output


def test_reviews_are_one_more_source(tmp_path, rsna):
    reviews = tmp_path / "reviews"
    reviews.mkdir()
    code, output = run(*written(tmp_path, rsna), "--from-reviews", reviews, "--print-config")
    assert code == 0, output
    sources = tomllib.loads(output)["sources"]
    assert [source["kind"] for source in sources] == ["rsna", "reviews"]
    assert sources[1]["folder"] == str(reviews)
    code, output = run(*written(tmp_path, rsna), "--from-reviews", reviews)
    assert code == 1
    assert "reviews" in output


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--print-config"], 0, "# Share of patients to measure on in the end\ntest_share = 0.15"),
        ([], 1, "nothing to prepare"),
        (["--processes", "0"], 2, "processes"),
        (["--config", "absent.toml"], 2, "absent.toml"),
    ],
)
def test_the_command_explains_its_settings_and_refuses_wrong_ones(tmp_path, monkeypatch, arguments, code, named):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments)[0] == code
    assert named in run(*arguments)[1]


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path, rsna):
    path = tmp_path / "shares.toml"
    path.write_text("validation_share = 0.5\ntest_share = 0.5\n")
    code, output = run("--config", path)
    assert code == 2
    assert "leave nothing to train on" in output
