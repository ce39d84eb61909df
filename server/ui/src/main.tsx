import { render } from "preact";
import { App } from "./components/app.tsx";
import { applyThemeChoice, readThemeChoice } from "./state/theme.ts";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/profile.css";

applyThemeChoice(readThemeChoice());
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
