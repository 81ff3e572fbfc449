mod examples;
mod wire;
