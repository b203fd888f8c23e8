"""The comparison of pages by nbval looks at no pictures."""


def pytest_collectstart(collector):
    if collector.path and collector.path.suffix == ".ipynb":
        collector.skip_compare += ("image/svg+xml",)
