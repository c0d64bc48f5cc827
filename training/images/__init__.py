"""The source paper's own form: single 2-D images, from a folder of pictures to a bundle that predicts them."""
