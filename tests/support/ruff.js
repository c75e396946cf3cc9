// Checks Python files with the WebAssembly build of ruff; SETTINGS is the JSON form of [tool.ruff].
//
// usage: ruff.js SETTINGS FILE...
const fs = require("node:fs");
const { PositionEncoding, Workspace } = require("@astral-sh/ruff-wasm-nodejs");

const [settings, ...files] = process.argv.slice(2);
const workspace = new Workspace(JSON.parse(settings), PositionEncoding.Utf32);
for (const file of files) {
	for (const fault of workspace.check(fs.readFileSync(file, "utf8"))) {
		const { row, column } = fault.start_location;
		console.log(`${file}:${row}:${column}: ${fault.code} ${fault.message}`);
		process.exitCode = 1;
	}
}
