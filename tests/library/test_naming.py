"""Names of products and options of commands."""

from drs.naming import level1, level2, list_products, options, picture, quality


def test_options_carry_their_names():
    assert (
        options({"clip_sigma": 5.0, "n_coadd": 2, "a": "b c", "none": None}) == "--clip-sigma=5.0 --n-coadd=2 '--a=b c'"
    )


def test_products_of_an_exposure_and_what_is_told_of_them():
    row = {"obs": "2024B-P123-008_IRIS_IMG1_SCI", "exp": "0001-00", "id": "one", "kind": "science"}
    image = "level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.fits"
    assert list_products(row, {"level1_only": []}) == [level1(row), image]
    assert (
        list_products(row, {"level1_only": ["one"]})
        == [level1(row)]
        == list_products(row | {"kind": "dark"}, {"level1_only": []})
    )
    assert level2(row) == image
    assert quality(image) == "quality/level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.json"
    assert picture(image) == "quicklook/level2/2024B-P123-008_IRIS_IMG1_SCI_LVL2_0001-00.png"
