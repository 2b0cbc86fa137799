// llama.cpp's side of decoding.py: node llama.mjs MODEL THREADS, where node-llama-cpp is installed.
// For each line of the input, `token` or `prompt`, it says how many seconds one token took, and how
// many of the processor's.
import {createRequire} from "node:module";
import {pathToFileURL} from "node:url";
import {createInterface} from "node:readline";

const [modelPath, threads] = process.argv.slice(2);
const found = createRequire(process.cwd() + "/").resolve("node-llama-cpp");
const {getLlama} = await import(pathToFileURL(found));
const llama = await getLlama({gpu: false, build: "never"});
const model = await llama.loadModel({modelPath});
const context = await model.createContext({contextSize: 2048, threads: +threads, sequences: 1,
                                           batchSize: 512});
const sequence = context.getSequence();
const long = model.tokenize("word ".repeat(600)).slice(0, 512);

async function take(ids, first, n) {
    await sequence.clearHistory();
    let wall, cpu, i = 0;
    const begin = () => { wall = performance.now(); cpu = process.cpuUsage(); };
    begin();
    for await (const _ of sequence.evaluate(ids, {temperature: 0, yieldEogToken: true})) {
        if (i++ === first) begin();
        if (i > first + n) break;
    }
    const {user, system} = process.cpuUsage(cpu);
    return [(performance.now() - wall) / 1e3, (user + system) / 1e6];
}

console.log("ready");
for await (const what of createInterface({input: process.stdin})) {
    const n = what === "token" ? 32 : 512;
    const seconds = what === "token" ? await take(model.tokenize("The capital of France is"), 0, n)
                                     : await take(long, -1, 1);
    console.log(seconds.map(x => x / n).join(" "));
}
process.exit(0);
