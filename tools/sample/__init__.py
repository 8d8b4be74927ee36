"""The parts of the drawn sample catalog: colours, surfaces, brush, products, scene, catalog."""
