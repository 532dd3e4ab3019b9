"""Laws of the pictures: what is shown is what was given, and files appear whole or not at all."""

import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from geo_p2p.errors import GeoP2PError
from geo_p2p.report import (
    as_picture,
    loss_curves,
    panel,
    robust_limits,
    save_figure,
    triptych,
)
from geo_p2p.report.text import fitting, typeface, wrapped


def random_picture(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """Return an opaque picture with two transparent rows."""
    picture = np.random.default_rng(seed).integers(0, 256, (rows, cols, 4), dtype=np.uint8)
    picture[..., 3] = 255
    picture[1:3, :, 3] = 0
    return picture


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGBA"))


# ---- as_picture


@pytest.mark.parametrize(
    ("count", "shown"), [(1, [0, 0, 0]), (2, [0, 0, 0]), (3, [0, 1, 2]), (5, [0, 1, 2])]
)
def test_eight_bits_are_shown_as_they_are(count: int, shown: list[int]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (count, 7, 9), dtype=np.uint8)
    picture = as_picture(values)
    assert picture.shape == (7, 9, 4) and picture.dtype == np.uint8
    assert np.array_equal(picture[..., :3], values[shown].transpose(1, 2, 0))
    assert (picture[..., 3] == 255).all()


def test_a_picture_is_no_view_of_the_values() -> None:
    values = np.zeros((3, 4, 4), dtype=np.uint8)
    as_picture(values, np.zeros((4, 4), dtype=bool))
    assert not values.any()


@pytest.mark.parametrize("colors", [None, {0: (1, 2, 3, 255)}])
def test_invalid_and_only_invalid_pixels_are_transparent(colors: dict | None) -> None:
    valid = np.random.default_rng(0).random((6, 8)) < 0.5
    picture = as_picture(np.zeros((1, 6, 8), dtype=np.uint8), valid, colors=colors)
    assert np.array_equal(picture[..., 3] == 255, valid)
    assert np.array_equal(picture[..., 3] == 0, ~valid)


def test_what_is_not_finite_is_transparent() -> None:
    values = np.ones((3, 2, 2))
    values[1, 0, 1], values[2, 1, 1] = np.nan, np.inf
    assert as_picture(values)[..., 3].tolist() == [[255, 0], [255, 0]]


def test_limits_become_black_and_white_and_what_lies_beyond_is_clipped() -> None:
    values = np.array([[[-50, 100, 150, 200, 900]]], dtype=np.int16)
    picture = as_picture(values, limits=[(100, 200)])
    assert picture[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert np.array_equal(picture, as_picture(values * 10, limits=[(1000, 2000)]))


def test_each_band_has_its_own_limits_and_eight_bits_obey_them_too() -> None:
    values = np.full((3, 1, 1), 50, dtype=np.uint8)
    assert as_picture(values, limits=[(0, 50), (50, 99), (0, 100)])[0, 0].tolist()[:2] == [255, 0]


@given(seed=st.integers(0, 99), dtype=st.sampled_from([np.uint16, np.float32, np.int32]))
def test_a_larger_value_is_never_darker(seed: int, dtype: type) -> None:
    values = np.random.default_rng(seed).normal(3000, 900, (1, 9, 9)).astype(dtype)
    order = np.argsort(values[0], axis=None, kind="stable")
    grey = as_picture(values)[..., 0].ravel()[order].astype(int)
    assert (np.diff(grey) >= 0).all() and grey[0] == 0 and grey[-1] == 255


def test_stretching_ignores_outliers_and_what_lies_under_the_mask() -> None:
    values = np.random.default_rng(0).uniform(100, 200, (3, 50, 50))
    valid = np.ones((50, 50), dtype=bool)
    valid[:5] = False
    expected = robust_limits(values, valid)
    for band, (low, high) in zip(values, expected, strict=True):
        assert (low, high) == pytest.approx(np.percentile(band[valid], [2, 98]))
    values[:, :5] = -9999
    assert robust_limits(values, valid) == expected
    values[:, 10, 10] = 1e6  # one hot pixel must not flatten the picture
    assert robust_limits(values, valid) == pytest.approx(np.array(expected), abs=0.2)
    explicit = as_picture(values, valid, limits=robust_limits(values, valid))
    assert np.array_equal(as_picture(values, valid), explicit)


def test_nearly_constant_bands_use_their_extremes() -> None:
    values = np.zeros((1, 20, 20))
    values[0, 0, 0] = 5
    assert robust_limits(values) == [(0, 5)]
    assert as_picture(values)[0, 0, 0] == 255


@pytest.mark.filterwarnings("error")
def test_constant_and_empty_bands_are_pictures_too() -> None:
    values = np.full((3, 4, 4), 7.0)
    assert (as_picture(values)[..., :3] == 128).all()
    assert not as_picture(values, np.zeros((4, 4), dtype=bool))[..., 3].any()
    assert not as_picture(values * np.nan)[..., 3].any()
    assert robust_limits(values, np.zeros((4, 4))) == [(0, 1)] * 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_classes_take_the_colours_of_their_palette(dtype: type) -> None:
    palette = {1: (10, 20, 30, 255), 95: (1, 2, 3, 128), 11: (7, 8, 9)}
    picture = as_picture(np.array([[[95, 1], [11, 42]]], dtype=dtype), colors=palette)
    assert picture[0].tolist() == [[1, 2, 3, 128], [10, 20, 30, 255]]
    assert picture[1].tolist() == [[7, 8, 9, 255], [255, 0, 255, 255]]


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.zeros((4, 4)), {}, "bands, rows, cols"),
        (np.zeros((0, 4, 4)), {}, "bands, rows, cols"),
        (np.zeros((1, 4, 4)), {"valid": np.ones((4, 5))}, r"\(4, 5\)"),
        (np.zeros((3, 4, 4)), {"limits": [(0, 1)]}, "3 bands are shown, 1"),
        (np.zeros((3, 4, 4)), {"colors": {0: (0, 0, 0, 0)}}, "one band"),
    ],
)
def test_what_cannot_be_shown_is_refused(values, options, message) -> None:
    with pytest.raises(GeoP2PError, match=message):
        as_picture(values, **options)


# ---- triptych


SIZES = [(40, 64), (25, 90), (64, 40)]


def located(sheet: np.ndarray, picture: np.ndarray, left: int) -> int:
    """Return the row at which `picture` starts in `sheet`, at column `left`."""
    rows, cols = picture.shape[:2]
    tops = [
        top
        for top in range(len(sheet) - rows + 1)
        if np.array_equal(sheet[top : top + rows, left : left + cols], picture)
    ]
    assert len(tops) == 1
    return tops[0]


def test_every_pixel_of_a_picture_is_a_pixel_of_the_triptych(tmp_path: Path) -> None:
    pictures = [random_picture(*size, seed) for seed, size in enumerate(SIZES)]
    path = triptych(tmp_path / "t.png", pictures, ["input", "truth", "translated"])
    assert path == tmp_path / "t.png"
    sheet = pixels_of(path)
    assert sheet.shape[1] == 64 + 90 + 40 + 4 * 8
    tops = {
        located(sheet, picture, left) for picture, left in zip(pictures, [8, 80, 178], strict=True)
    }
    (top,) = tops
    assert sheet.shape[0] == top + 64 + 8
    outside = np.ones(sheet.shape[:2], dtype=bool)
    for (rows, cols), left in zip(SIZES, [8, 80, 178], strict=True):
        outside[top : top + rows, left : left + cols] = False
        assert sheet[: top - 2, left : left + cols, :3].min() < 128, "no title above"
    assert (sheet[outside][:, 3] == 255).all()


def frame_of(image: np.ndarray, rows: slice, cols: slice) -> np.ndarray:
    """Return the pixels that lie around a box."""
    outer = image[rows.start - 1 : rows.stop + 1, cols.start - 1 : cols.stop + 1, :3]
    return np.concatenate([outer[0], outer[-1], outer[:, 0], outer[:, -1]])


def test_white_pictures_end_at_a_frame(tmp_path: Path) -> None:
    white = np.full((50, 60, 4), 255, dtype=np.uint8)
    sheet = pixels_of(triptych(tmp_path / "t.png", [white], [""]))
    top = len(sheet) - 8 - 50
    assert (frame_of(sheet, slice(top, top + 50), slice(8, 68)) < 240).all()
    figure = panel([[white]], [""])
    image = rendered(figure)
    assert (frame_of(image, *boxes(figure, len(image))[0]) < 240).all()


def test_grey_and_rgb_arrays_are_pictures_too(tmp_path: Path) -> None:
    rgba = random_picture(30, 50)
    rgba[..., 3] = 255
    sheet = pixels_of(triptych(tmp_path / "t.png", [rgba[..., :3], rgba[..., 0]], ["a", "b"]))
    located(sheet, rgba, 8)
    located(sheet, rgba[..., [0, 0, 0, 3]], 66)


def test_titles_and_captions_stay_inside(tmp_path: Path) -> None:
    pictures = [random_picture(40, 64)] * 2
    words = "A caption of many words\nthat has to be wrapped, with $dollars$. " * 3
    plain = pixels_of(triptych(tmp_path / "a.png", pictures, ["a", "b"]))
    long = pixels_of(triptych(tmp_path / "b.png", pictures, ["W" * 90, "b\nb"], caption=words))
    assert long.shape[1] == plain.shape[1] and long.shape[0] > plain.shape[0]
    for columns in (slice(0, 8), slice(72, 80), slice(144, 152)):  # the gutters
        assert (long[:20, columns] == 255).all()
    assert (long[:, :7] == 255).all() and (long[:, -7:] == 255).all()
    assert np.array_equal(long[:, 80:144][: len(plain) - 8][26:], plain[:, 80:144][26:-8])


@given(text=st.text("abW é\n", max_size=60), width=st.integers(60, 300))
def test_text_fits_and_loses_no_word(text: str, width: int) -> None:
    font = typeface(14)
    assert font.getlength(fitting(text, font, width)) <= width
    lines = wrapped(text, font, width)
    assert " ".join(lines).split() == text.split()
    assert all(font.getlength(line) <= width or " " not in line for line in lines)
    firsts = [line.split()[0] for line in lines[1:]]
    assert all(
        font.getlength(f"{line} {first}") > width
        for line, first in zip(lines, firsts, strict=False)
    )


@pytest.mark.parametrize(
    ("images", "titles", "message"),
    [
        ([], [], "0 pictures"),
        ([np.zeros((4, 4, 4), np.uint8)], ["a", "b"], "1 pictures with 2 titles"),
        ([np.zeros((4, 4, 4))], ["a"], "float64"),
        ([np.zeros((4, 4, 2), np.uint8)], ["a"], r"\(4, 4, 2\)"),
        ([np.zeros((0, 4, 4), np.uint8)], ["a"], r"\(0, 4, 4\)"),
    ],
)
def test_what_is_no_row_of_pictures_is_refused(tmp_path, images, titles, message) -> None:
    with pytest.raises(GeoP2PError, match=message):
        triptych(tmp_path / "t.png", images, titles)
    assert list(tmp_path.iterdir()) == []


# ---- files


def write_triptych(path: Path) -> Path:
    return triptych(path, [random_picture(20, 20)], ["a"])


def write_figure(path: Path) -> Path:
    return save_figure(panel([[random_picture(20, 20)]], ["a"]), path)


class Crash(Exception):
    """Not an error that anybody translates."""


def half_written(error: Exception):
    """Return a stand-in for the writers of PIL and matplotlib that stops halfway."""

    def write(self: object, target: Path, **options: object) -> None:
        Path(target).write_bytes(b"half a file")
        raise error

    return write


@pytest.mark.parametrize("write", [write_triptych, write_figure])
@pytest.mark.parametrize("error", [Crash(), KeyboardInterrupt(), OSError(28, "No space left")])
def test_a_failing_write_leaves_everything_as_it_was(tmp_path, monkeypatch, write, error) -> None:
    old = tmp_path / "old.png"
    old.write_bytes(b"what was there")
    monkeypatch.setattr(Image.Image, "save", half_written(error))
    monkeypatch.setattr(Figure, "savefig", half_written(error))
    expected = GeoP2PError if isinstance(error, OSError) else type(error)
    for path in (old, tmp_path / "new.png"):
        with pytest.raises(expected) as caught:
            write(path)
        assert expected is not GeoP2PError or f"{path}: No space left" in str(caught.value)
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"what was there"


@pytest.mark.parametrize("write", [write_triptych, write_figure])
def test_a_write_replaces_and_leaves_one_ordinary_file(tmp_path: Path, write) -> None:
    path = tmp_path / "p.png"
    path.write_bytes(b"old")
    reader = path.open("rb")  # whoever reads the old file reads it to its end
    touched = tmp_path / "touched"
    touched.touch()
    assert write(path) == path
    pixels_of(path)
    with reader:
        assert reader.read() == b"old"
    assert set(tmp_path.iterdir()) == {path, touched}
    assert path.stat().st_mode == touched.stat().st_mode
    with pytest.raises(GeoP2PError, match="nowhere"):
        write(tmp_path / "nowhere" / "p.png")


def test_the_suffix_decides_the_format_of_a_figure(tmp_path: Path) -> None:
    figure = loss_curves([{"l1_loss": 1.0}])
    assert save_figure(figure, tmp_path / "c.pdf").read_bytes().startswith(b"%PDF")
    assert save_figure(figure, str(tmp_path / "plain")).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(GeoP2PError, match=r"\.tiffany"):
        save_figure(figure, tmp_path / "c.tiffany")


# ---- panel


def rendered(figure: Figure) -> np.ndarray:
    """Return the pixels of a figure, as `save_figure` writes them, without compressing them."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def test_a_figure_is_saved_as_it_is_drawn(tmp_path: Path) -> None:
    figure = panel([[random_picture(64, 64)]], ["a"])
    assert np.array_equal(pixels_of(save_figure(figure, tmp_path / "f.png")), rendered(figure))


def boxes(figure: Figure, height: int) -> list[tuple[slice, slice]]:
    """Return where in the image each picture of a panel lies."""
    corners = [axes.get_window_extent().extents.round().astype(int) for axes in figure.axes]
    return [(slice(height - y1, height - y0), slice(x0, x1)) for x0, y0, x1, y1 in corners]


@pytest.mark.parametrize("size", [(100, 100), (256, 256), (64, 200), (171, 90), (600, 40)])
def test_a_panel_shows_each_pixel_as_one_square(size: tuple[int, int]) -> None:
    pictures = [random_picture(*size, seed) for seed in range(6)]
    for picture in pictures:
        picture[..., 3] = 255
    rows = [pictures[:3], pictures[3:]]
    figure = panel(rows, ["input", "truth", "translated"], caption="Three of many.")
    image = rendered(figure)
    width, height = figure.get_size_inches() * figure.dpi
    assert image.shape == (height, width, 4)
    factor = max(512 // max(size), 1)
    found = sorted(boxes(figure, len(image)), key=lambda box: (box[0].start, box[1].start))
    for picture, box in zip(pictures, found, strict=True):
        squares = picture.repeat(factor, axis=0).repeat(factor, axis=1)
        assert np.array_equal(image[box], squares)


def test_pictures_hang_in_rows_and_columns_without_touching() -> None:
    sizes = [[(30, 60), (60, 30)], [(1500, 900), (256, 256)]]
    figure = panel([[random_picture(*s) for s in row] for row in sizes], ["a", "b"])
    image = rendered(figure)
    covered = np.zeros(image.shape[:2], dtype=int)
    found = boxes(figure, len(image))
    for rows, cols in found:
        covered[rows.start : rows.stop + 2, cols.start : cols.stop + 2] += 1
    assert (
        covered.max() == 1 and max(axes.get_window_extent().height for axes in figure.axes) <= 1024
    )
    by_title = sorted({cols.start for _, cols in found})
    assert len(by_title) == 2 and len({rows.start for rows, _ in found}) == 2
    lefts = [text.get_window_extent().x0 for text in figure.texts]
    assert lefts == pytest.approx(by_title, abs=3)


def test_holes_in_a_panel_show_a_hatched_ground() -> None:
    picture = np.zeros((64, 64, 4), dtype=np.uint8)
    image = rendered(panel([[picture]], ["nothing"]))
    figure = panel([[picture]], ["nothing"])
    ground = image[boxes(figure, len(image))[0]]
    assert (ground[..., 3] == 255).all() and ground[..., :3].min() > 180
    assert 0.05 < (ground[..., 0] < 235).mean() < 0.6


def test_words_of_a_panel_stay_in_their_columns_and_are_no_formulas() -> None:
    caption = "Prices in $ and more $ of a file_name^2 in A VERY LOUD VOICE INDEED. " * 4
    figure = panel([[random_picture(128, 128)] * 2], ["W" * 80, "$x^2$"], caption=caption)
    rendered(figure)
    width = figure.get_size_inches()[0] * figure.dpi
    first, second, *lines = figure.texts
    assert first.get_window_extent().x1 < second.get_window_extent().x0
    assert second.get_text() == "$x^2$" and not second.get_parse_math()
    assert " ".join(line.get_text() for line in lines).split() == caption.split()
    boxes_of_lines = [line.get_window_extent() for line in lines]
    assert len(lines) > 1 and max(box.x1 for box in boxes_of_lines) <= width
    assert all(a.y0 > b.y0 for a, b in zip(boxes_of_lines, boxes_of_lines[1:], strict=False))
    assert boxes_of_lines[-1].y0 >= 0
    assert boxes_of_lines[0].y1 < min(axes.get_window_extent().y0 for axes in figure.axes)


@pytest.mark.parametrize(
    ("rows", "titles"), [([], ["a"]), ([[]], []), ([[random_picture(8, 8)]], ["a", "b"])]
)
def test_a_grid_with_gaps_is_refused(rows: list, titles: list) -> None:
    with pytest.raises(GeoP2PError, match="titles"):
        panel(rows, titles)


# ---- loss_curves


def history(epochs: int) -> list[dict[str, float | None]]:
    rng = np.random.default_rng(0)
    names = ["fake_d_real_class_loss", "l1_loss", "real_d_loss", "fake_d_loss", "valid_l1_loss"]
    made = [dict(zip(names, rng.uniform(0.2, 0.9, 5).tolist(), strict=True)) for _ in range(epochs)]
    for epoch in made:
        epoch["total_gen_loss"] = epoch["fake_d_real_class_loss"] + 100 * epoch["l1_loss"]
        epoch["total_disc_loss"] = (epoch["real_d_loss"] + epoch["fake_d_loss"]) / 2
    return made


def curves(figure: Figure) -> list[dict[str, list[tuple[float, float]]]]:
    """Return, for each axes, the points of each labelled curve."""
    return [
        {line.get_label(): list(map(tuple, line.get_xydata().tolist())) for line in axes.lines}
        for axes in figure.axes
    ]


@pytest.mark.parametrize("epochs", [1, 2, 7, 60])
def test_every_loss_is_drawn_at_its_epoch(epochs: int) -> None:
    made = history(epochs)
    figure = loss_curves(made)
    rendered(figure)
    against, likeness = curves(figure)

    def points(key: str) -> list[tuple[float, float]]:
        return [(number, epoch[key]) for number, epoch in enumerate(made, start=1)]

    assert against == {
        "generator, total": points("total_gen_loss"),
        "generator, adversarial": points("fake_d_real_class_loss"),
        "discriminator, total": points("total_disc_loss"),
        "discriminator, real": points("real_d_loss"),
        "discriminator, translated": points("fake_d_loss"),
    }
    assert likeness == {"training": points("l1_loss"), "validation": points("valid_l1_loss")}
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert low < 1 and high > epochs
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks and all(tick == round(tick) for tick in ticks)
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == [line.get_label() for line in axes.lines]
    # 100 x L1 would flatten everything else on a linear scale.
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_losses_below_zero_are_drawn_on_a_linear_scale() -> None:
    figure = loss_curves([{"total_gen_loss": 90.0, "total_disc_loss": -0.2}] * 2)
    assert figure.axes[0].get_yscale() == "linear"


def test_further_measures_have_axes_of_their_own_and_other_keys_none() -> None:
    made = history(4)
    for number, epoch in enumerate(made):
        epoch |= {"lr": 1e-4, "valid_ssim": 0.5, "valid_empty": None}
        epoch |= {"valid_psnr": 20.0 if number == 2 else None, "valid_total_gen_loss": 30.0}
    figure = loss_curves(made)
    assert len(figure.axes) == 4
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles[2:] == ["SSIM (validation)", "PSNR in dB (validation)"]
    drawn = curves(figure)
    assert drawn[3] == {"PSNR in dB": [(3, 20)]}
    assert "generator, total (validation)" in drawn[0]
    assert figure.axes[3].lines[0].get_marker() == "o"  # one point has no line to be seen by
    assert len({axes.get_xlim() for axes in figure.axes}) == 1


def test_accuracy_and_gradients_are_drawn_where_they_were_measured() -> None:
    pairs = [("d_accuracy_real", "d_accuracy_fake"), ("gen_grad_norm", "disc_grad_norm")]
    made = [{"l1_loss": 1.0, **{name: 0.5 for pair in pairs for name in pair}}]
    drawn = curves(loss_curves(made))
    assert drawn[2:] == [
        {"real": [(1, 0.5)], "translated": [(1, 0.5)]},
        {"generator": [(1, 0.5)], "discriminator": [(1, 0.5)]},
    ]


@pytest.mark.filterwarnings("error")
def test_missing_and_infinite_values_are_left_out() -> None:
    made = [{"l1_loss": 1.0, "valid_l1_loss": None}, {"l1_loss": np.nan}]
    made.append({"valid_l1_loss": np.inf})
    figure = loss_curves([*made, {"l1_loss": 0.5, "valid_l1_loss": 0.25}])
    assert curves(figure) == [{}, {"training": [(1, 1), (4, 0.5)], "validation": [(4, 0.25)]}]
    rendered(figure)


def test_nothing_trained_is_nothing_to_draw() -> None:
    with pytest.raises(GeoP2PError, match="no epoch"):
        loss_curves([])


# ---- manners


def test_neither_pyplot_nor_global_state_is_touched(tmp_path: Path) -> None:
    code = """
import sys, matplotlib, numpy as np
before = matplotlib.rcParams.copy()
from geo_p2p.report import *
picture = as_picture(np.zeros((3, 9, 9), np.uint8))
save_figure(panel([[picture]], ["a"]), sys.argv[1] + "/a.png")
save_figure(loss_curves([{"l1_loss": 1.0}]), sys.argv[1] + "/b.png")
triptych(sys.argv[1] + "/c.png", [picture], ["a"])
assert matplotlib.rcParams.copy() == before
print(*sorted({"matplotlib.pyplot", "torch", "fastai", "tkinter"} & sys.modules.keys()))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == ""
    assert len(list(tmp_path.iterdir())) == 3


def test_the_typeface_comes_with_matplotlib() -> None:
    assert typeface(14).path.startswith(matplotlib.get_data_path())
