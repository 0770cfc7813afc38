import pytest

from nanolit.report.plots import grouped_bars


def test_a_plot_is_a_png_of_a_readable_size(tmp_path):
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "made" / "bars.png"
    grouped_bars(path, ["news", "code"], {"ours": [3.1, 2.0], "theirs": [4.0, 2.5]}, "bytes per token", "title")
    with image.open(path) as picture:
        assert picture.format == "PNG"
        width, height = picture.size
        pixels = picture.convert("RGB").getcolors(width * height)
    assert 800 <= width <= 3000 and 500 <= height <= 1000
    colours = {colour for _, colour in pixels}
    assert {(0x1B, 0x6C, 0xA8), (0xB9, 0xC4, 0xCC)} <= colours  # a bar of each series
    assert [file.name for file in path.parent.iterdir()] == ["bars.png"]
